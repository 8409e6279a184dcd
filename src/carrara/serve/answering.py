"""From the pieces of an engine to the response of a route, whole or streamed."""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from starlette.responses import Response

from carrara.errors import Refusal
from carrara.serve.desk import Desk
from carrara.serve.engine import (
    ChatRequest,
    ContextExceeded,
    FinishReason,
    Interrupted,
    Piece,
    TextRequest,
    Unavailable,
    UnknownModel,
    Unsupported,
    next_seed,
)
from carrara.serve.protocol import ApiError, Writing, encode, event, usage
from carrara.serve.record import Record, record_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

_FIELDS = {"schema": "response_format", "top_logprobs": "logprobs"}  # of the engine's request, in the protocol
_log = logging.getLogger(__name__)


class Form(Protocol):
    """How a route words its answers: the kinds of its objects, and what stands in their `choices`."""

    prefix: str
    whole: str
    part: str
    field: str  # that holds what is to be gone on from

    def choice(self, index: int, answer: Piece) -> dict[str, Any]: ...

    def opening(self, index: int) -> dict[str, Any] | None: ...

    def bit(self, index: int, piece: Piece, before: int, called: int) -> dict[str, Any]: ...

    def ending(self, index: int, reason: FinishReason) -> dict[str, Any]: ...


@dataclass(frozen=True)
class _Envelope:
    """What an answer, and each bit of a streamed one, is wrapped in."""

    form: Form
    identity: str
    created: int
    model: str

    def around(self, kind: str, choices: Sequence[Any], **more: Any) -> dict[str, Any]:
        head = {"id": self.identity, "object": kind, "created": self.created, "model": self.model}
        return {**head, "choices": choices, **more}


async def respond(
    desk: Desk, asked: ChatRequest | TextRequest, body: Writing, form: Form, request: Request
) -> Response:
    """Ask the engine as often as `body` wants and answer; raises what the engine refuses."""
    pieces = _noted(await desk.ask(_several(asked, body.n or 1), request.receive), record_of(request.scope))
    envelope = _Envelope(form, f"{form.prefix}-{uuid.uuid4().hex}", int(time.time()), asked.model)
    if body.stream:
        return EventStream(_events(desk, pieces, envelope, body, record_of(request.scope)))
    return await _whole(desk, pieces, envelope, body.n or 1, record_of(request.scope))


def _several(asked: ChatRequest | TextRequest, count: int) -> list[ChatRequest | TextRequest]:
    """The same request `count` times; a seed goes up by one each time, or all answers would be the same."""
    if asked.seed is None:
        return [asked] * count
    return [replace(asked, seed=next_seed(asked.seed, index)) for index in range(count)]


async def _noted(pieces: AsyncIterator[tuple[int, Piece]], record: Record) -> AsyncIterator[tuple[int, Piece]]:
    """The pieces, written down in the record as they pass. The prompt counts once, however many answers it gets."""
    said: list[str] = []
    before, written = 0, 0  # tokens of the answers before, and of this one so far
    try:
        async for index, piece in pieces:
            if (piece.text or piece.tool_calls) and record.first_token is None:
                record.first_token = record.seconds
            said.append(piece.text)
            said.extend(encode(call.to_json()).decode() for call in piece.tool_calls)
            record.prompt_tokens = piece.prompt_tokens or record.prompt_tokens
            written = piece.completion_tokens or written + 1  # an engine that does not tell yet: at least a token each
            record.completion_tokens = before + written
            if piece.finish_reason:
                before, written = before + written, 0
            yield index, piece
    finally:
        record.said = "".join(said)


async def _whole(
    desk: Desk, pieces: AsyncIterator[tuple[int, Piece]], envelope: _Envelope, count: int, record: Record
) -> Response:
    choices: list[dict[str, Any]] = []
    said: list[Piece] = []
    async for index, piece in pieces:
        said.append(piece)
        if piece.finish_reason:
            choices.append(envelope.form.choice(index, _together(said)))
            said = []
            if index == count - 1:
                record.reason = piece.finish_reason
    if len(choices) < count:
        raise desk.unfinished()
    counts = usage(record.prompt_tokens, record.completion_tokens)
    return json_response(envelope.around(envelope.form.whole, choices, usage=counts))


def _together(said: Sequence[Piece]) -> Piece:
    """The pieces of an answer as one."""
    return Piece(
        "".join(piece.text for piece in said),
        said[-1].finish_reason,
        logprobs=tuple(each for piece in said for each in piece.logprobs),
        tool_calls=tuple(call for piece in said for call in piece.tool_calls),
    )


async def _events(
    desk: Desk, pieces: AsyncIterator[tuple[int, Piece]], envelope: _Envelope, body: Writing, record: Record
) -> AsyncIterator[bytes]:
    """Server-sent events as pieces come; a failure in between is told as an event, since the status is sent."""
    form, more = envelope.form, {"usage": None} if body.include_usage else {}
    opened, before, called = 0, 0, 0

    def bit(choice: dict[str, Any]) -> bytes:
        return event(envelope.around(form.part, [choice], **more))

    try:
        if opening := form.opening(0):
            yield bit(opening)
        async for index, piece in pieces:
            if index > opened:
                opened, before, called = index, 0, 0
                if opening := form.opening(index):
                    yield bit(opening)
            if piece.text or piece.logprobs or piece.tool_calls:
                yield bit(form.bit(index, piece, before, called))
                before, called = before + len(piece.text), called + len(piece.tool_calls)
            if piece.finish_reason:
                yield bit(form.ending(index, piece.finish_reason))
                if index == (body.n or 1) - 1:
                    record.reason = piece.finish_reason
        if not record.reason:
            raise desk.unfinished()
        if body.include_usage:
            counts = usage(record.prompt_tokens, record.completion_tokens)
            yield event(envelope.around(form.part, [], usage=counts))
        yield b"data: [DONE]\n\n"
    except Exception as error:
        told = as_api_error(error, form.field)
        record.reason = told.code
        yield event(told.body())


class EventStream(Response):
    """Sends events as they come. A client that leaves is noticed by the desk, which ends the events."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"Cache-Control": "no-cache"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._events:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def json_response(value: Any, status: int = 200) -> Response:
    """A value as the body of a response."""
    return Response(encode(value), status, media_type="application/json")


def as_api_error(error: Exception, field: str) -> ApiError:
    """What a client is told of an error that ended its request; `field` held what the engine was to go on from."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UnknownModel):
        return ApiError(404, "model_not_found", str(error), "model")
    if isinstance(error, ContextExceeded):
        param = "max_tokens" if error.prompt_fits else field
        return ApiError(400, "context_length_exceeded", str(error), param)
    if isinstance(error, Unsupported):
        param = _FIELDS.get(error.field, error.field)
        message = str(error).replace(f"'{error.field}'", f"'{param}'")
        return ApiError(400, "unsupported_parameter", message, param)
    if isinstance(error, Unavailable):
        code = "engine_restarting" if isinstance(error, Interrupted) else "engine_unavailable"
        wait = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else None
        return ApiError(503, code, str(error), headers=wait)
    if isinstance(error, Refusal):
        return ApiError(400, "invalid_value", str(error))
    return _unexpected(error)


def _unexpected(error: Exception) -> ApiError:
    """Log where a failure happened, without its message, which may hold what a user wrote."""
    place = "".join(traceback.format_tb(error.__traceback__))
    _log.error("an answer failed with %s at\n%s", type(error).__name__, place)
    return ApiError(500, "internal_error", "the answer failed inside the server; its log says where.")
