"""The personas that models are asked to be, and what they are asked: data that ships beside this file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

from carrara.data.example import Message
from carrara.workspace import digest_of_value

_ENDINGS = "(?:s|es|d|ed|ing)?"
_FILES = ("personas.yaml", "instructions.yaml")


@dataclass(frozen=True)
class Persona:
    """Who a model is asked to be. `words` are how it sounds beyond its `card`, which becomes the system message."""

    name: str
    card: str
    required: str
    forbidden: str
    words: tuple[str, ...]

    def sounds(self, text: str) -> int:
        """How many of its words stand in a text, each counted once whatever its ending."""
        return len({found.lower() for found in _any_of(self.words).findall(text)})


@dataclass(frozen=True)
class Cards:
    """Personas and what each is asked: topics `(topics, 2)` in two wordings, and who it is.

    `makers` are what a model says of itself that does not keep its role.
    """

    personas: tuple[Persona, ...]
    topics: tuple[tuple[str, str], ...]
    who: tuple[str, ...]
    makers: tuple[str, ...]

    @property
    def questions(self) -> list[str]:
        """The questions of all topics, topic by topic."""
        return [question for topic in self.topics for question in topic]

    def chats(self, persona: Persona) -> list[tuple[Message, ...]]:
        """What a persona is asked: all topics, then who it is."""
        return [(Message("system", persona.card), Message("user", asked)) for asked in (*self.questions, *self.who)]


@dataclass(frozen=True)
class Instruction:
    """A prompt, and the kind and settings of the check that tells whether it was followed."""

    prompt: str
    kind: str
    settings: Mapping[str, Any]


@cache
def read_cards() -> Cards:
    """The cards that ship; a judgement made with other ones is another measure."""
    told = yaml.safe_load(_text("personas.yaml"))
    personas = (Persona(**{**each, "words": tuple(each["words"].split())}) for each in told["personas"])
    topics = ((topic[0], topic[1]) for topic in told["topics"])
    return Cards(tuple(personas), tuple(topics), tuple(told["who"]), tuple(told["makers"]))


@cache
def read_instructions() -> tuple[Instruction, ...]:
    """The instructions that ship."""
    told = yaml.safe_load(_text("instructions.yaml"))
    return tuple(Instruction(each["prompt"], each["kind"], MappingProxyType(each["settings"])) for each in told)


def digest_of_cards() -> str:
    """What changes with what models are asked."""
    return digest_of_value([_text(name) for name in _FILES])


def says(text: str, phrases: tuple[str, ...]) -> bool:
    """Whether one of some phrases stands in a text as whole words, in any case."""
    return bool(_whole(phrases).search(text))


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)({'|'.join(map(re.escape, words))}){_ENDINGS}(?!\w)", re.IGNORECASE)


@cache
def _whole(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, phrases))})(?!\w)", re.IGNORECASE)


def _text(name: str) -> str:
    return (files("carrara.scorecard.ease_of_use") / name).read_text(encoding="utf-8")
