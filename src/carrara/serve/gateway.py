"""The gateway: the only thing that listens. OpenAI's routes in front of an engine."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from carrara.errors import Refusal
from carrara.serve.answering import as_api_error, json_response, respond
from carrara.serve.chat import ChatBody, ChatForm
from carrara.serve.completions import TextBody, TextForm
from carrara.serve.desk import Desk
from carrara.serve.embeddings import EmbeddingsBody
from carrara.serve.engine import ChatRequest, Engine, UnknownModel, with_role
from carrara.serve.guard import Guard, error_response, origins
from carrara.serve.keys import Keys, OneKey
from carrara.serve.limits import Limits
from carrara.serve.logs import log_line
from carrara.serve.metrics import MEDIA_TYPE, Metrics
from carrara.serve.openapi import document
from carrara.serve.protocol import ApiError, Body, encode, parse_body
from carrara.serve.record import Record, Recorder, Traffic, record_of

if TYPE_CHECKING:
    from carrara.serve.answered import Answered

_LONGEST_BODY = 4 << 20  # bytes
_SHORT_BODY = 64 << 10
_PATIENCE = 30.0  # seconds that a body may take to arrive
_Kind = TypeVar("_Kind", bound=Body)
_Note = Callable[[Request, str, object], None]  # writes down what is asked of which model


@dataclass(frozen=True)
class Terms:
    """On what terms the gateway answers.

    `host` is the address it is bound to, `role` the system prompt of conversations that bring none. The engine gives
    `at_once` answers side by side, and `waiting` more requests may wait. `rate` is the most requests a minute of one
    key, `each` the most it may have under way. Pages of the origins in `cors` may ask. `json_logs` writes a line to
    stderr for each request.
    """

    host: str = "127.0.0.1"
    role: str | None = None
    at_once: int = 1
    waiting: int = 16
    rate: int | None = None
    each: int | None = None
    cors: tuple[str, ...] = ()
    json_logs: bool = False

    def __post_init__(self) -> None:
        origins(self.cors)  # raises Refusal


def build_app(
    engine: Engine,
    keys: Keys | str,
    terms: Terms = Terms(),
    *,
    on_answer: Callable[[Answered], None] | None = None,
    traffic: Traffic | None = None,
    roles: Callable[[str], str] | None = None,
) -> Starlette:
    """The application: OpenAI's routes, `/metrics`, `/openapi.json` and `/healthz`; all but the last need a key.

    `on_answer` is called once for every request for an answer that has a key, refused ones included; without a key
    anybody could fill a record. Whoever stops the server sets `traffic.draining`, waits until nothing is under way, and
    ends what takes too long with `traffic.break_off`.
    `roles` gives the system prompt of a stored role, or raises Refusal: a chat asks for it with the model `NAME@ROLE`.
    """
    keys = OneKey(keys) if isinstance(keys, str) else keys
    traffic = traffic or Traffic()
    desk = Desk(engine, terms.at_once, terms.waiting)
    traffic.break_off = desk.break_off
    metrics = Metrics(lambda: desk.waiting, lambda: traffic.under_way)

    def tell(record: Record) -> None:
        metrics.add(record)
        if terms.json_logs:
            sys.stderr.write(log_line(record) + "\n")

    def cast(asked: ChatRequest, record: Record) -> ChatRequest:
        record.model = asked.model  # should there be no such role
        name, record.role, text = _persona(asked.model, engine.models(), roles)
        if text is not None:
            _require_no_other(asked, name, record.role)
        return replace(asked, model=name, messages=with_role(asked.messages, text or terms.role))

    def note(request: Request, model: str, asked: object) -> None:
        record = record_of(request.scope)
        record.model, record.asked = model, encode(asked).decode()
        if model in engine.models():
            record.engine = engine.describe(model)

    routes = [*_answers(desk, cast, note), *_others(engine, metrics, traffic)]
    paths, limits = frozenset(route.path for route in routes), Limits(terms.rate, terms.each)
    outside_in = [
        Middleware(Recorder, routes=paths, traffic=traffic, tell=tell, on_answer=on_answer),
        Middleware(Guard, keys=keys, host=terms.host, cors=origins(terms.cors), limits=limits, traffic=traffic),
    ]
    app = Starlette(routes=routes, middleware=outside_in)
    app.router.redirect_slashes = False
    app.add_exception_handler(ApiError, _on_error)
    app.add_exception_handler(HTTPException, _on_error)
    return app


def _answers(desk: Desk, cast: Callable[[ChatRequest, Record], ChatRequest], note: _Note) -> list[Route]:
    async def chat(request: Request) -> Response:
        body = await _body(ChatBody, request)
        record = record_of(request.scope)
        asked = cast(body.to_request(), record)
        note(request, asked.model, [message.to_json() for message in asked.messages])
        if asked.tools:
            record.offered = encode(asked.tools.functions).decode()
        form = ChatForm(bool(body.logprobs))
        with _told(form.field):
            return await respond(desk, asked, body, form, request)

    async def complete(request: Request) -> Response:
        body = await _body(TextBody, request)
        asked = body.to_request()
        note(request, body.model, asked.prompt)
        form = TextForm(body.logprobs)
        with _told(form.field):
            return await respond(desk, asked, body, form, request)

    async def embed(request: Request) -> Response:
        body = await _body(EmbeddingsBody, request)
        texts = body.texts()
        note(request, body.model, texts)
        with _told("input"):
            embedded = await desk.embed(body.model, texts, request.receive)
        record = record_of(request.scope)
        record.prompt_tokens, record.reason = embedded.tokens, "stop"
        return json_response(body.answer(embedded))

    return [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", complete, methods=["POST"]),
        Route("/v1/embeddings", embed, methods=["POST"]),
    ]


def _others(engine: Engine, metrics: Metrics, traffic: Traffic) -> list[Route]:
    kind = {"object": "model", "created": int(time.time()), "owned_by": "carrara"}

    async def healthz(_: Request) -> Response:
        if traffic.draining:
            return json_response({"status": "stopping"}, 503)
        return json_response({"status": "ok"})

    async def models(_: Request) -> Response:
        return json_response({"object": "list", "data": [{"id": name, **kind} for name in engine.models()]})

    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        if name not in engine.models():
            raise as_api_error(UnknownModel(name, engine.models()), "model")
        return json_response({"id": name, **kind})

    async def figures(_: Request) -> Response:
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    async def openapi(_: Request) -> Response:
        return json_response(document(engine.models()))

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{model:path}", model, methods=["GET"]),
        Route("/metrics", figures, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
    ]


def _persona(model: str, known: Sequence[str], roles: Callable[[str], str] | None) -> tuple[str, str, str | None]:
    """The model, the role and its system prompt that `NAME@ROLE` asks for; a model of that very name comes first."""
    name, _, role = model.rpartition("@")
    if roles is None or model in known or name not in known:
        return model, "", None
    try:
        return name, role, roles(role)
    except Refusal as error:
        raise ApiError(404, "model_not_found", str(error), "model") from error


def _require_no_other(asked: ChatRequest, name: str, role: str) -> None:
    """Refuse a role that was asked for beside a system prompt: one of the two would be left out without a word."""
    if any(message.role == "system" for message in asked.messages):
        message = (
            f"the model '{asked.model}' asks for the role '{role}', and the messages bring a system prompt of their "
            f"own; leave that out, or ask for the model '{name}'."
        )
        raise ApiError(400, "invalid_value", message, "messages")


@contextmanager
def _told(field: str) -> Iterator[None]:
    """Turn whatever ends a request into what its client is told; `field` holds what the engine is to go on from."""
    try:
        yield
    except Exception as error:
        raise as_api_error(error, field) from None


async def _body(kind: type[_Kind], request: Request) -> _Kind:
    """The checked body; a long one is checked beside the event loop, which has others to serve meanwhile."""
    raw = await _read(request)
    if len(raw) <= _SHORT_BODY:
        return parse_body(kind, raw)
    return await asyncio.to_thread(parse_body, kind, raw)


async def _read(request: Request) -> bytes:
    """The body, up to the limit; only JSON by its content type, which a form of a foreign page can't send."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "unsupported_media_type", "the body has to be sent as Content-Type: application/json.")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > _LONGEST_BODY:
        raise _too_long()  # before any of it has come
    body = bytearray()
    try:
        async with asyncio.timeout(_PATIENCE):
            async for part in request.stream():
                body += part
                if len(body) > _LONGEST_BODY:
                    raise _too_long()
    except TimeoutError:
        message = f"the body did not arrive within {_PATIENCE:.0f} seconds."
        raise ApiError(408, "body_too_slow", message, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise ApiError(499, "client_gone", "the client has gone.") from None
    return bytes(body)


def _too_long() -> ApiError:
    """The refusal of a long body, of which more may come: it is read and thrown away until the client stops or is late.

    A connection closed with parts of the body unread is reset, and what the client was told is lost on the way.
    """
    return ApiError(413, "body_too_large", f"the body is longer than {_LONGEST_BODY >> 20} MiB; shorten it.")


async def _on_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        sentence = {404: "there is no such path here", 405: "this path does not take that method"}
        message = f"{sentence.get(error.status_code, error.detail)}; see /openapi.json."
        error = ApiError(error.status_code, "invalid_request", message, headers=error.headers)
    assert isinstance(error, ApiError)
    return error_response(error, record_of(request.scope))
