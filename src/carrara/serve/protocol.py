"""What the routes of OpenAI's protocol share: bodies checked field by field, errors, events, counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypedDict, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator

SHOWN = 100  # characters of a client's text that an error repeats
MOST_ANSWERS = 8  # to one request, by `n`
MOST_TOKENS = 2**31  # engines count in 32 bits
MOST_LOGPROBS = 20  # likeliest tokens at a place

MOST_LEVELS = 32  # of nesting in a schema, or in the arguments of a call

_DEEPEST = 64  # levels of nesting in a body
_MOST_BRACKETS = 50_000  # in a body; a parser takes long over millions of lists, and nobody is served meanwhile
_LONGEST_STOP = 1000  # characters

# Fields of the protocol that don't change the answer, whatever they hold.
IGNORED = frozenset(
    {
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "user",
    }
)
_STOP = {"type": "string", "minLength": 1, "maxLength": _LONGEST_STOP}

Neutral = Mapping[str, tuple[Any, ...]]  # values (beside null) with which a field asks for what is done anyway
_Some = TypeVar("_Some", bound="Body")


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # JSON knows one kind of number: 5.0 is 5


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
        kinds = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}
        kind = kinds.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class Body(BaseModel):
    """The fields of a request that are honoured, `neutral` those that may only ask for what is done anyway."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    neutral: ClassVar[Neutral] = {}

    model: str


class StreamOptions(BaseModel):
    """`include_obfuscation` asks for padding against traffic analysis, which is left out on a private server."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool = False


class Settings(TypedDict):
    """What a body says of an answer, as the engine is asked for it."""

    model: str
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]


class Writing(Body):
    """What the routes have in common that let a model write."""

    max_tokens: Annotated[int, Field(ge=1, lt=MOST_TOKENS), WHOLE] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_ANSWERS), WHOLE] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63), WHOLE] | None = None
    stop: Annotated[
        Annotated[list[Annotated[str, Field(min_length=1, max_length=_LONGEST_STOP)]], Field(max_length=4)] | None,
        WithJsonSchema({"anyOf": [_STOP, {"type": "array", "maxItems": 4, "items": _STOP}, {"type": "null"}]}),
    ] = None
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

    def settings(self) -> Settings:
        """The fields of the engine's request that need no more thought."""
        return Settings(
            model=self.model,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=tuple(self.stop or ()),
        )


def parse_body(kind: type[_Some], raw: bytes) -> _Some:
    """A request body, checked; raises ApiError that names the field at fault."""
    if raw.count(b"[") + raw.count(b"{") > _MOST_BRACKETS:
        message = f"the body has more than {_MOST_BRACKETS} opening brackets; send a simpler one."
        raise ApiError(400, "invalid_json", message)
    try:
        value = json.loads(raw)
        encode(value)  # fails on half a surrogate pair, which JSON can escape
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise ApiError(400, "invalid_json", "the body is no valid JSON of Unicode text; send one in UTF-8.") from error
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "the body is no JSON object; send one with a model and what to answer.")
    if is_deeper(value, _DEEPEST):
        raise _too_deep()
    known = {key: item for key, item in value.items() if key not in IGNORED}
    try:
        return kind.model_validate(without_neutral(known, kind.neutral, ""))
    except ValidationError as error:
        raise _first_fault(error) from error


def _too_deep() -> ApiError:
    return ApiError(400, "invalid_json", f"the body is nested deeper than {_DEEPEST} levels; send a flatter one.")


def is_deeper(value: Any, levels: int) -> bool:
    """Whether a JSON value has more levels of objects and lists than that."""
    if not isinstance(value, dict | list):
        return False
    if not levels:
        return True
    return any(is_deeper(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))


def without_neutral(fields: Mapping[str, Any], neutral: Neutral, place: str) -> dict[str, Any]:
    """The fields that are to be looked at further; raises ApiError for one that asks for what is not done."""
    for key, value in fields.items():
        if key in neutral and value is not None and not any(_is_same(value, item) for item in neutral[key]):
            allowed = " or ".join(json.dumps(item) for item in neutral[key])
            remedy = f"send {allowed}, or leave it out" if allowed else "leave it out"
            message = f"'{place}{key}' is not supported by this server; {remedy}."
            raise ApiError(400, "unsupported_parameter", message, f"{place}{key}")
    return {key: value for key, value in fields.items() if key not in neutral}


def _is_same(value: Any, other: Any) -> bool:
    """Python takes true for 1, JSON does not."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _first_fault(error: ValidationError) -> ApiError:
    fault = error.errors(include_input=False, include_context=False, include_url=False)[0]
    param = ".".join(str(part) for part in fault["loc"])[:SHOWN]
    if fault["type"] == "extra_forbidden":
        return ApiError(400, "unknown_parameter", f"'{param}' is no field of this protocol; leave it out.", param)
    if fault["type"] == "missing":
        return ApiError(400, "missing_required_parameter", f"'{param}' is missing; add it.", param)
    if param == "messages" and fault["type"] == "too_short":
        return ApiError(400, "invalid_value", "'messages' is empty; send at least one message.", param)
    return ApiError(400, "invalid_value", f"'{param}' is not usable: {fault['msg'][: 2 * SHOWN].lower()}.", param)


def encode(value: Any) -> bytes:
    """JSON in UTF-8; raises ValueError for what is no Unicode."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + encode(value) + b"\n\n"


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """The counts of an answer."""
    total = prompt_tokens + completion_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, "total_tokens": total}
