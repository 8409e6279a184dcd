"""An example: messages, and which of them a model is to learn. It knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carrara.workspace import digest_of_value

_ID_LENGTH = 16


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class Example:
    """A conversation and the positions of the messages that are supervised; `row` is its line in the source."""

    messages: tuple[Message, ...]
    supervised: tuple[int, ...]
    row: int

    @property
    def id(self) -> str:
        """The beginning of the digest of the content, so that equal rows share it."""
        return digest_of_value([[m.role, m.content] for m in self.messages])[:_ID_LENGTH]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "row": self.row,
            "messages": [{"role": m.role, "content": m.content} for m in self.messages],
            "supervised": list(self.supervised),
        }


def example_from_json(value: Mapping[str, Any]) -> Example:
    """The inverse of `Example.to_json`."""
    messages = tuple(Message(m["role"], m["content"]) for m in value["messages"])
    return Example(messages, tuple(value["supervised"]), value["row"])
