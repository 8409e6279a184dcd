"""The open prompts that creativity is measured on, and how a model is asked them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

import yaml

from carrara.data.example import Message
from carrara.data.render.example import render_prompt
from carrara.models.load import Loaded


@dataclass(frozen=True)
class OpenPrompt:
    """A prompt of one genre that has no right answer; `opening` is its form for a model that cannot chat."""

    genre: str
    ask: str
    opening: str


def read_prompts() -> list[OpenPrompt]:
    """The prompts, in the order in which seeds count."""
    text = files("carrara.scorecard.creativity").joinpath("prompts.yaml").read_text(encoding="utf-8")
    return [OpenPrompt(**entry) for entry in yaml.safe_load(text)]


@dataclass(frozen=True)
class Asking:
    """The prompts and the form in which all models of a comparison are asked: as `chat`, or as openings of texts."""

    prompts: tuple[OpenPrompt, ...]
    chat: bool

    def ids(self, loaded: Loaded) -> list[list[int]]:
        """The tokens that a model goes on from, of each prompt."""
        if self.chat:
            return [render_prompt(loaded.tokenizer, (Message("user", prompt.ask),)) for prompt in self.prompts]
        return [list(loaded.tokenizer.encode(prompt.opening)) for prompt in self.prompts]


def asking_of(models: Iterable[Loaded]) -> Asking:
    """How to ask some models alike: as a chat if each of them has a template for it."""
    return Asking(tuple(read_prompts()), all(bool(loaded.tokenizer.chat_template) for loaded in models))
