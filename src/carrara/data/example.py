"""An example: messages, and which of them a model is to learn. It knows no model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carrara.workspace import digest_of_value

_ID_LENGTH = 16


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. `extra` holds what OpenAI's protocol adds: tool_calls, tool_call_id, name."""

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What is said, and what is called."""
        calls = self.extra.get("tool_calls")
        return f"{self.content}\n{json.dumps(calls, ensure_ascii=False)}".lstrip() if calls else self.content

    def to_json(self) -> dict[str, Any]:
        return {"role": self.role, "content": self.content, **self.extra}


@dataclass(frozen=True)
class Example:
    """A conversation and the positions of the messages that are supervised.

    `row` counts from 1 within `file`, the source's name. `label` is a class, `pair` two sentences with the `score`
    of their similarity, `group` whatever must stay on one side of a split, `tools` what an assistant may call. A
    document for continued training is a single assistant message.
    """

    messages: tuple[Message, ...]
    supervised: tuple[int, ...]
    row: int
    file: str = ""
    label: str | None = None
    pair: tuple[str, str] | None = None
    score: float | None = None
    group: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def id(self) -> str:
        """The beginning of the digest of the content, so that equal rows share it."""
        turns = [[m.role, m.content, *([dict(m.extra)] if m.extra else [])] for m in self.messages]
        return digest_of_value([*turns, *self.tools])[:_ID_LENGTH]

    @property
    def is_document(self) -> bool:
        return len(self.messages) == 1

    @property
    def texts(self) -> list[str]:
        """What all messages say but the system's, which many rows share."""
        return [message.text for message in self.messages if message.role != "system"]

    @property
    def body(self) -> str:
        """What is compared with other rows, and shown of a row: its texts in order."""
        return "\n".join(self.texts)

    @property
    def context(self) -> str:
        """What users and tools say, without the system message, which many rows share."""
        return "\n".join(m.content for m in self.messages if m.role in ("user", "tool"))

    @property
    def answer(self) -> str:
        """What is supervised."""
        return "\n".join(self.messages[index].text for index in self.supervised)

    def to_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "id": self.id,
            "file": self.file,
            "row": self.row,
            "messages": [message.to_json() for message in self.messages],
            "supervised": list(self.supervised),
        }
        optional = {"label": self.label, "pair": self.pair, "score": self.score, "group": self.group}
        content |= {key: value for key, value in optional.items() if value is not None}
        return content | ({"tools": list(self.tools)} if self.tools else {})


def example_from_json(value: Mapping[str, Any]) -> Example:
    """The inverse of `Example.to_json`."""
    pair = value.get("pair")
    return Example(
        messages=tuple(_message(message) for message in value["messages"]),
        supervised=tuple(value["supervised"]),
        row=value["row"],
        file=value.get("file", ""),
        label=value.get("label"),
        pair=(pair[0], pair[1]) if pair else None,
        score=value.get("score"),
        group=value.get("group"),
        tools=tuple(value.get("tools", ())),
    )


def _message(value: Mapping[str, Any]) -> Message:
    extra = {key: inner for key, inner in value.items() if key not in ("role", "content")}
    return Message(value["role"], value["content"], extra)
