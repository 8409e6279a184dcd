"""The part of OpenAI's chat protocol that is spoken here: requests checked field by field, and answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from carrara.data.example import Message
from carrara.serve.engine import ChatRequest, FinishReason

_SHOWN = 100  # characters of a client's text that an error repeats

# Fields of the protocol that don't change the answer, whatever they hold.
_IGNORED = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }
)
# Fields that would change the answer, and the values (beside null) with which they ask for what is done anyway.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "moderation": (),
    "n": (1,),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "store": (False,),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
_NEUTRAL_IN_MESSAGE: Mapping[str, tuple[Any, ...]] = {
    "annotations": ([],),
    "audio": (),
    "function_call": (),
    "name": (),
    "refusal": (),
    "tool_calls": ([],),
}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class ApiError(Exception):
    """A refusal over HTTP; `param` is the field at fault, `code` a word for programs."""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The error object of the protocol."""
        kinds = {429: "rate_limit_error", 500: "server_error"}
        kind = kinds.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class StreamOptions(BaseModel):
    """`include_obfuscation` asks for padding against traffic analysis, which is left out on a private server."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatBody(BaseModel):
    """The fields of a request that are honoured; `messages` are checked by hand, for better sentences."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str
    messages: Annotated[list[Any], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=1000)]], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def include_usage(self) -> bool:
        """Whether a stream is to end with the counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def to_request(self) -> ChatRequest:
        """The request to the engine; raises ApiError for a message that is not usable."""
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            raise ApiError(400, "invalid_value", "max_tokens and max_completion_tokens differ; give one.", "max_tokens")
        return ChatRequest(
            model=self.model,
            messages=tuple(_message(index, value) for index, value in enumerate(self.messages)),
            max_tokens=limits.pop() if limits else None,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=tuple(self.stop or ()),
        )


def parse_body(raw: bytes) -> ChatBody:
    """A request body, checked; raises ApiError that names the field at fault."""
    try:
        value = json.loads(raw)
        encode(value)  # fails on half a surrogate pair, which JSON can escape
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", "the body is no valid JSON of Unicode text; send one in UTF-8.") from error
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "the body is no JSON object; send one with model and messages.")
    known = {key: item for key, item in value.items() if key not in _IGNORED}
    try:
        return ChatBody.model_validate(_without_neutral(known, _NEUTRAL, ""))
    except ValidationError as error:
        raise _first_fault(error) from error


def _without_neutral(fields: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]], place: str) -> dict[str, Any]:
    for key, value in fields.items():
        if key in neutral and value is not None and value not in neutral[key]:
            allowed = " or ".join(json.dumps(item) for item in neutral[key])
            remedy = f"send {allowed}, or leave it out" if allowed else "leave it out"
            message = f"'{place}{key}' is not supported by this server; {remedy}."
            raise ApiError(400, "unsupported_parameter", message, f"{place}{key}")
    return {key: value for key, value in fields.items() if key not in neutral}


def _first_fault(error: ValidationError) -> ApiError:
    fault = error.errors(include_input=False, include_context=False, include_url=False)[0]
    param = ".".join(str(part) for part in fault["loc"])[:_SHOWN]
    if fault["type"] == "extra_forbidden":
        return ApiError(400, "unknown_parameter", f"'{param}' is no field of this protocol; leave it out.", param)
    if fault["type"] == "missing":
        return ApiError(400, "missing_required_parameter", f"'{param}' is missing; add it.", param)
    if param == "messages" and fault["type"] == "too_short":
        return ApiError(400, "invalid_value", "'messages' is empty; send at least one message.", param)
    return ApiError(400, "invalid_value", f"'{param}' is not usable: {fault['msg'].lower()}.", param)


def _message(index: int, value: Any) -> Message:
    place = f"messages.{index}"
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_value", f"'{place}' is no object with role and content.", place)
    fields = _without_neutral(value, _NEUTRAL_IN_MESSAGE, f"{place}.")
    if unknown := fields.keys() - {"role", "content"}:
        name = f"{place}.{min(unknown)[:_SHOWN]}"
        raise ApiError(400, "unknown_parameter", f"'{name}' is no field of this protocol; leave it out.", name)
    role = fields.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        allowed = ", ".join(_ROLES)
        raise ApiError(400, "invalid_value", f"'{place}.role' has to be one of {allowed}.", f"{place}.role")
    return Message(_ROLES[role], _content(f"{place}.content", fields.get("content")))


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


def encode(value: Any) -> bytes:
    """JSON in UTF-8; raises ValueError for what is no Unicode."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + encode(value) + b"\n\n"


def completion(identity: str, created: int, model: str, text: str, reason: FinishReason, usage: Any) -> dict[str, Any]:
    """A whole answer."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return {
        "id": identity,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }


def chunk(
    identity: str, created: int, model: str, delta: Mapping[str, str] | None, reason: FinishReason | None = None
) -> dict[str, Any]:
    """A bit of a streamed answer; without `delta` the one that carries no choice, only the counts."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {
        "id": identity,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [] if delta is None else [choice],
    }


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """The counts of an answer."""
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}
