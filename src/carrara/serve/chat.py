"""`/v1/chat/completions`: what may be asked there, and the words of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from carrara.data.example import Message
from carrara.serve.engine import ChatRequest, FinishReason, Piece, TokenLogprob
from carrara.serve.protocol import (
    MOST_LOGPROBS,
    MOST_TOKENS,
    SHOWN,
    WHOLE,
    ApiError,
    Neutral,
    Writing,
    without_neutral,
)
from carrara.serve.schemas import check_schema
from carrara.serve.tools import CALLS, CHOICE, MOST_TOOLS, Tool, check_answers, extra_of, tools_of

_LEAST_LOGPROB = -9999.0  # for what is impossible: JSON has no infinity

_IN_MESSAGE: Neutral = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "refusal": (),
}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_TEXT_PART = {
    "type": "object",
    "required": ["type", "text"],
    "additionalProperties": False,
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
}
_CONTENT = [{"type": "string"}, {"type": "array", "minItems": 1, "items": _TEXT_PART}]
_PLAIN = {
    "content": {"anyOf": _CONTENT},
    "tool_calls": {"enum": [None, []]},
    "tool_call_id": {"type": "null"},
    **{name: {"enum": [None, *allowed]} for name, allowed in _IN_MESSAGE.items()},
}


def _kind(roles: Sequence[str], required: Sequence[str], **properties: Any) -> dict[str, Any]:
    """The JSON schema of the messages of some roles."""
    return {
        "type": "object",
        "required": ["role", *required],
        "additionalProperties": False,
        "properties": {**_PLAIN, "role": {"enum": list(roles)}, **properties},
    }


_MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [
            _kind([role for role in _ROLES if role != "tool"], ["content"]),
            _kind(["assistant"], ["tool_calls"], content={"anyOf": [*_CONTENT, {"type": "null"}]}, tool_calls=CALLS),
            _kind(["tool"], ["content", "tool_call_id"], tool_call_id={"type": "string", "minLength": 1}),
        ],
        "description": "A tool's message answers a call of the assistant's message before.",
    },
}


class _Format(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class PlainFormat(_Format):
    """Text, or any JSON object."""

    type: Literal["text", "json_object"]


class NamedSchema(_Format):
    """A JSON schema; its name, description and strictness change nothing: it is always kept to."""

    name: str
    description: str | None = None
    strict: bool | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class SchemaFormat(_Format):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class ChatBody(Writing):
    """The fields of a request that are honoured; `messages` are checked by hand, for better sentences."""

    neutral: ClassVar[Neutral] = {
        "audio": (),
        "frequency_penalty": (0,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "logit_bias": ({},),
        "modalities": (["text"],),
        "moderation": (),
        "presence_penalty": (0,),
        "reasoning_effort": ("none",),
        "store": (False,),
        "verbosity": ("medium",),
        "web_search_options": (),
    }

    messages: Annotated[list[Any], Field(min_length=1), WithJsonSchema(_MESSAGES)]
    max_completion_tokens: Annotated[
        Annotated[int, Field(ge=1, lt=MOST_TOKENS), WHOLE] | None, Field(description="Not beside another max_tokens.")
    ] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[
        Annotated[int, Field(ge=0, le=MOST_LOGPROBS), WHOLE] | None, Field(description="Needs logprobs.")
    ] = None
    response_format: Annotated[PlainFormat | SchemaFormat, Field(discriminator="type")] | None = None
    tools: Annotated[list[Tool], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: Annotated[Any, WithJsonSchema(CHOICE)] = None
    parallel_tool_calls: bool | None = None

    def to_request(self) -> ChatRequest:
        """The request to the engine; raises ApiError for what single fields don't tell."""
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise ApiError(400, "invalid_value", "max_tokens and max_completion_tokens differ; give one.", "max_tokens")
        if self.top_logprobs and not self.logprobs:
            raise ApiError(400, "invalid_value", "top_logprobs needs logprobs; set it to true.", "top_logprobs")
        messages = tuple(_message(index, value) for index, value in enumerate(self.messages))
        check_answers(messages)
        return ChatRequest(
            **self.settings(),
            messages=messages,
            tools=tools_of(self.tools, self.tool_choice, self.parallel_tool_calls),
            max_tokens=limits.pop() if limits else None,
            top_logprobs=self.top_logprobs or 0 if self.logprobs else None,
            schema=self._schema(),
        )

    def _schema(self) -> Mapping[str, Any] | None:
        if isinstance(self.response_format, SchemaFormat):
            schema = self.response_format.json_schema.schema_
            check_schema(schema, "response_format")
            return schema
        if self.response_format is not None and self.response_format.type == "json_object":
            return {"type": "object"}
        return None


def _message(index: int, value: Any) -> Message:
    place = f"messages.{index}"
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_value", f"'{place}' is no object with role and content.", place)
    fields = without_neutral(value, _IN_MESSAGE, f"{place}.")
    if unknown := fields.keys() - {"role", "content", "tool_calls", "tool_call_id"}:
        name = f"{place}.{min(unknown)[:SHOWN]}"
        raise ApiError(400, "unknown_parameter", f"'{name}' is no field of this protocol; leave it out.", name)
    role = fields.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        allowed = ", ".join(_ROLES)
        raise ApiError(400, "invalid_value", f"'{place}.role' has to be one of {allowed}.", f"{place}.role")
    extra = extra_of(place, role, fields)
    content = fields.get("content")
    silent = content is None and "tool_calls" in extra  # an answer that is all calls
    return Message(_ROLES[role], "" if silent else _content(f"{place}.content", content), extra)


def _content(place: str, value: Any) -> str:
    """The text of a message; text parts are joined by line breaks, as other servers do."""
    texts = value if isinstance(value, list) else [{"type": "text", "text": value}]
    if not texts:
        raise ApiError(400, "invalid_value", f"'{place}' is empty; send a text.", place)
    for part in texts:
        if not isinstance(part, dict) or part.keys() != {"type", "text"} or part["type"] != "text":
            raise ApiError(400, "unsupported_parameter", f"'{place}' may only hold text; leave out the rest.", place)
        if not isinstance(part["text"], str):
            raise ApiError(400, "invalid_value", f"'{place}' has to be a text.", place)
    return "\n".join(part["text"] for part in texts)


class ChatForm:
    """How this route words its answers."""

    prefix = "chatcmpl"
    whole = "chat.completion"
    part = "chat.completion.chunk"
    field = "messages"

    def __init__(self, logprobs: bool) -> None:
        self._logprobs = logprobs

    def choice(self, index: int, answer: Piece) -> dict[str, Any]:
        """One whole answer; one that is all calls has no content."""
        calls = [call.to_json() for call in answer.tool_calls]
        message = {"role": "assistant", "content": answer.text or (None if calls else ""), "refusal": None}
        told = {**message, "tool_calls": calls} if calls else message
        words = self._words(answer.logprobs)
        return {"index": index, "message": told, "logprobs": words, "finish_reason": answer.finish_reason}

    def opening(self, index: int) -> dict[str, Any]:
        """What a streamed answer begins with."""
        return self._delta(index, {"role": "assistant", "content": ""}, None, None)

    def bit(self, index: int, piece: Piece, before: int, called: int) -> dict[str, Any]:
        """A bit of a streamed answer; `before` characters were said and `called` calls made already."""
        delta: dict[str, Any] = {"content": piece.text} if piece.text or not piece.tool_calls else {}
        if piece.tool_calls:
            delta["tool_calls"] = [{"index": n, **call.to_json()} for n, call in enumerate(piece.tool_calls, called)]
        return self._delta(index, delta, self._words(piece.logprobs), None)

    def ending(self, index: int, reason: FinishReason) -> dict[str, Any]:
        """What a streamed answer ends with."""
        return self._delta(index, {}, None, reason)

    @staticmethod
    def _delta(index: int, delta: dict[str, Any], logprobs: Any, reason: FinishReason | None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}

    def _words(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        content = [
            {**_token(token.text, token.logprob), "top_logprobs": [_token(*likely) for likely in token.top]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}


def finite(logprob: float) -> float:
    """A log-probability that JSON can say."""
    return max(logprob, _LEAST_LOGPROB)


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": finite(logprob), "bytes": list(text.encode())}
