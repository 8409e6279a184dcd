"""What the gateway and the terminal ask, and what anything that answers must give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from carrara.data.example import Message
from carrara.errors import Refusal

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class ChatRequest:
    """A conversation to be answered. `max_tokens` None leaves the length to the engine, `seed` None to chance."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """A bit of an answer. Only the last piece has a `finish_reason`, and the two counts with it."""

    text: str
    finish_reason: FinishReason | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Engine(Protocol):
    """Something that answers. Safe to call from several threads; requests are answered in the order of asking."""

    def models(self) -> list[str]:
        """The names it answers under."""
        ...

    def chat(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """Check the request at once, raising Refusal, and answer it while the result is iterated.

        `cancelled` is asked before each token; once it is true the pieces end, without a last one.
        """
        ...


class UnknownModel(Refusal):
    """The engine has no model of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no model '{name[:100]}' here; this server answers as {', '.join(known)}.")


class ContextExceeded(Refusal):
    """Prompt and answer do not fit into the model's context. All sizes in tokens."""

    def __init__(self, prompt_tokens: int, max_tokens: int | None, context: int) -> None:
        self.prompt_fits = prompt_tokens < context
        asked = f" and the answer may take {max_tokens}" if max_tokens is not None else ""
        remedy = "shorten the conversation or lower max_tokens" if self.prompt_fits else "shorten the conversation"
        super().__init__(f"the prompt has {prompt_tokens} tokens{asked}, but the model holds {context}; {remedy}.")


def with_role(messages: Sequence[Message], role: str | None) -> tuple[Message, ...]:
    """The messages with `role` as system prompt in front, unless they bring a system prompt of their own."""
    if not role or any(message.role == "system" for message in messages):
        return tuple(messages)
    return (Message("system", role), *messages)
