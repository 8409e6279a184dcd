"""What the gateway and the terminal ask, and what anything that answers must give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from carrara.data.example import Message
from carrara.errors import Refusal

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a model, whatever it is to go on from.

    `max_tokens` None leaves the length to the engine, `seed` None to chance. `top_logprobs` asks for each token's
    log-probability and as many likeliest ones beside it; None for neither. `schema` is a JSON schema that the answer
    has to fit.
    """

    model: str
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    schema: Mapping[str, Any] | None = None


def next_seed(seed: int, steps: int = 1) -> int:
    """The seed so many further on, within the 64 bits that seeds have: the lowest comes after the highest."""
    return (seed + steps + 2**63) % 2**64 - 2**63


@dataclass(frozen=True)
class Tools:
    """What a model may call: functions, and whether it may, all in the words of OpenAI's protocol.

    `choice` is "auto", "none", "required" or the object that names a function. `parallel` False asks for one call at
    most.
    """

    functions: tuple[Mapping[str, Any], ...]
    choice: str | Mapping[str, Any] = "auto"
    parallel: bool = True


@dataclass(frozen=True)
class ToolCall:
    """A call that a model made: the function's name and its arguments as JSON text."""

    id: str
    name: str
    arguments: str

    def to_json(self) -> dict[str, Any]:
        """The call in the words of OpenAI's protocol, as `Message.extra` holds it."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, kw_only=True)
class ChatRequest(Request):
    """A conversation to be answered, in the model's chat template; its messages carry calls in `extra`."""

    messages: tuple[Message, ...]
    tools: Tools | None = None


@dataclass(frozen=True, kw_only=True)
class TextRequest(Request):
    """A text to be continued, as it stands."""

    prompt: str


@dataclass(frozen=True)
class TokenLogprob:
    """A token that was written, its log-probability in nats before temperature, and the likeliest at its place."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """A bit of an answer. Only the last piece has a `finish_reason`; it has both counts, of the whole.

    Pieces before it may have counts of what was read and written so far.

    `logprobs` are those of the tokens whose text ended with this piece, where they were asked for. A tool call comes
    in one piece, and whole.
    """

    text: str
    finish_reason: FinishReason | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True)
class Embedded:
    """The vectors of texts, in order, each of length one, and how many tokens were read for all of them."""

    vectors: tuple[tuple[float, ...], ...]
    tokens: int


class Engine(Protocol):
    """Something that answers. Safe to call from several threads."""

    def models(self) -> list[str]:
        """The names it answers under."""
        ...

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """Check the request at once, raising Refusal, and answer it while the result is iterated.

        `cancelled` is asked before each token; once it is true the pieces end, without a last one.
        """
        ...

    def embed(self, model: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> Embedded:
        """The vectors of texts; raises Refusal, Unsupported where the engine has none.

        `cancelled` is asked between texts; once it is true no more are read, and nobody looks at what is returned.
        """
        ...

    def describe(self, model: str) -> str:
        """What computes the answers of a model, for the record: such as `llamacpp q8_0`."""
        ...

    def close(self) -> None:
        """Let go of what the engine holds: processes, sockets, files. Nothing is asked of it afterwards."""
        ...


class Unsupported(Refusal):
    """The engine cannot do what a field asks for."""

    def __init__(self, engine: str, field: str) -> None:
        self.field = field
        super().__init__(
            f"the engine {engine} does not support '{field}'; leave it out, or serve with another --engine."
        )


class Unfit(Unsupported):
    """The model cannot do what a field asks for, as `sentence` says."""

    def __init__(self, field: str, sentence: str) -> None:
        self.field = field
        Refusal.__init__(self, sentence)


class UnknownModel(Refusal):
    """The engine has no model of that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no model '{name[:100]}' here; this server answers as {', '.join(known)}.")


class ContextExceeded(Refusal):
    """Prompt and answer do not fit into the model's context; `prompt_fits` where the prompt alone would."""

    def __init__(self, sentence: str, prompt_fits: bool) -> None:
        self.prompt_fits = prompt_fits
        super().__init__(sentence)

    @classmethod
    def by(cls, prompt_tokens: int, max_tokens: int | None, context: int) -> ContextExceeded:
        """With a sentence that names the sizes, in tokens."""
        fits = prompt_tokens < context
        asked = f" and the answer may take {max_tokens}" if max_tokens is not None else ""
        remedy = "shorten the conversation or lower max_tokens" if fits else "shorten the conversation"
        return cls(f"the prompt has {prompt_tokens} tokens{asked}, but the model holds {context}; {remedy}.", fits)


class Unavailable(Refusal):
    """The engine cannot answer now, for a reason that is not the request's.

    `retry_after` says in how many seconds that may be over; None where waiting alone does not help.
    """

    def __init__(self, sentence: str, retry_after: int | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(sentence)


class Interrupted(Unavailable):
    """What computes the answer went away while it was asked."""

    def __init__(self) -> None:
        super().__init__("the engine's process ended before the answer did; it is started anew, so ask again.", 1)


def with_role(messages: Sequence[Message], role: str | None) -> tuple[Message, ...]:
    """The messages with `role` as system prompt in front, unless they bring a system prompt of their own."""
    if not role or any(message.role == "system" for message in messages):
        return tuple(messages)
    return (Message("system", role), *messages)
