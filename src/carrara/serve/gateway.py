"""The gateway: the only thing that listens. OpenAI's chat routes in front of an engine."""

from __future__ import annotations

import logging
import time
import traceback
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from carrara.errors import Refusal
from carrara.serve.desk import Desk
from carrara.serve.engine import ChatRequest, ContextExceeded, Engine, Piece, UnknownModel, with_role
from carrara.serve.guard import Guard, error_response
from carrara.serve.protocol import ApiError, ChatBody, chunk, completion, encode, event, parse_body, usage

_LONGEST_BODY = 4 << 20  # bytes
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Answer:
    """What all chunks of an answer repeat."""

    identity: str
    created: int
    model: str
    include_usage: bool

    def chunk(self, delta: dict[str, str], piece: Piece | None = None) -> bytes:
        value = chunk(self.identity, self.created, self.model, delta, piece.finish_reason if piece else None)
        return event({**value, "usage": None} if self.include_usage else value)


def build_app(
    engine: Engine, key: str, *, host: str = "127.0.0.1", role: str | None = None, waiting: int = 16
) -> FastAPI:
    """The application: `/healthz`, `/v1/models` and `/v1/chat/completions`; all but the first need `key`.

    `host` is what the server is bound to; `role` becomes the system prompt of conversations without one;
    `waiting` requests wait beside the one that is answered, and a further one gets 429.
    """
    if not key or key != key.strip():
        raise Refusal("the key is empty or has spaces around it; give another with --key, or none to get a random one.")
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_middleware(Guard, key=key, host=host)
    app.add_exception_handler(ApiError, _on_error)
    app.add_exception_handler(HTTPException, _on_error)
    started = int(time.time())
    desk = Desk(engine, waiting)

    @app.get("/healthz")
    async def healthz() -> Response:
        return _json({"status": "ok"})

    @app.get("/v1/models")
    async def models() -> Response:
        kind = {"object": "model", "created": started, "owned_by": "carrara"}
        return _json({"object": "list", "data": [{"id": name, **kind} for name in engine.models()]})

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = parse_body(await _read(request))
        asked = body.to_request()
        asked = replace(asked, messages=with_role(asked.messages, role))
        try:
            return await _respond(desk, asked, body, request)
        except (Refusal, ApiError) as error:
            raise _as_api_error(error) from error
        except Exception as error:
            raise _unexpected(error) from None

    return app


async def _respond(desk: Desk, asked: ChatRequest, body: ChatBody, request: Request) -> Response:
    pieces = await desk.ask(asked, request.receive)
    answer = _Answer(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), asked.model, body.include_usage)
    if body.stream:
        headers = {"Cache-Control": "no-cache"}
        return StreamingResponse(_events(pieces, answer), headers=headers, media_type="text/event-stream")
    text = ""
    async for piece in pieces:
        text += piece.text
        if piece.finish_reason:
            counts = _usage(piece)
            return _json(completion(answer.identity, answer.created, answer.model, text, piece.finish_reason, counts))
    raise ApiError(499, "client_gone", "the client has gone.")


async def _events(pieces: AsyncIterator[Piece], answer: _Answer) -> AsyncIterator[bytes]:
    """Server-sent events as pieces come; a failure in between is told as an event, since the status is sent."""
    yield answer.chunk({"role": "assistant", "content": ""})
    try:
        async for piece in pieces:
            if piece.text:
                yield answer.chunk({"content": piece.text})
            if piece.finish_reason:
                yield answer.chunk({}, piece)
                if answer.include_usage:
                    counts = chunk(answer.identity, answer.created, answer.model, None)
                    yield event({**counts, "usage": _usage(piece)})
                yield b"data: [DONE]\n\n"
    except Exception as error:
        yield event((_as_api_error(error) if isinstance(error, Refusal) else _unexpected(error)).body())


def _usage(last: Piece) -> dict[str, int]:
    return usage(last.prompt_tokens or 0, last.completion_tokens or 0)


def _json(value: Any) -> Response:
    return Response(encode(value), media_type="application/json")


async def _read(request: Request) -> bytes:
    """The body, up to the limit; only JSON by its content type, which a form of a foreign page can't send."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "unsupported_media_type", "the body has to be sent as Content-Type: application/json.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_BODY:
            raise ApiError(413, "body_too_large", f"the body is longer than {_LONGEST_BODY >> 20} MiB; shorten it.")
    return bytes(body)


def _as_api_error(error: Refusal | ApiError) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UnknownModel):
        return ApiError(404, "model_not_found", str(error), "model")
    if isinstance(error, ContextExceeded):
        param = "max_tokens" if error.prompt_fits else "messages"
        return ApiError(400, "context_length_exceeded", str(error), param)
    return ApiError(400, "invalid_value", str(error))


def _unexpected(error: Exception) -> ApiError:
    """Log where a failure happened, without its message, which may hold what a user wrote."""
    place = "".join(traceback.format_tb(error.__traceback__))
    _log.error("an answer failed with %s at\n%s", type(error).__name__, place)
    return ApiError(500, "internal_error", "the answer failed inside the server; its log says where.")


async def _on_error(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        sentence = {404: "there is no such path here", 405: "this path does not take that method"}
        message = f"{sentence.get(error.status_code, error.detail)}; see /v1/models and /v1/chat/completions."
        error = ApiError(error.status_code, "invalid_request", message, headers=error.headers)
    assert isinstance(error, ApiError)
    return error_response(error)
