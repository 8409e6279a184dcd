"""A server with vLLM's routes and the shapes of its answers, with the reference engine behind it.

The shapes are those of vLLM's `OpenAIServingModels`, `ModelCard`, `ErrorResponse` and chat stream chunks.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from carrara.errors import Refusal
from carrara.models import Model
from carrara.serve.engine import Engine, Piece
from carrara.serve.http_server import make_server
from carrara.serve.record import Traffic
from carrara.serve.server import listen, url_of

from .standin import _choice, _request


@dataclass
class VllmStandIn:
    """Serves the base of `models`, which are those of `engine`; remembers what was loaded into it and asked of it.

    `updating` says whether adapters may be loaded while it runs, `key` what clients must send, `fault` what loading an
    adapter fails with.
    """

    engine: Engine
    models: dict[str, Model]
    updating: bool = True
    key: str | None = None
    fault: str | None = None
    behind: dict[str, str] = field(default_factory=dict)
    loras: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.base = str(self.models["base"].path)
        self.folders = {str(model.adapter or model.path): name for name, model in self.models.items()}
        self.behind["served-base"] = "base"

    def app(self) -> Starlette:
        routes = [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._answer, methods=["POST"]),
            Route("/v1/completions", self._answer, methods=["POST"]),
            Route("/v1/embeddings", self._embed, methods=["POST"]),
        ]
        if self.updating:
            routes.append(Route("/v1/load_lora_adapter", self._load, methods=["POST"]))
            routes.append(Route("/v1/unload_lora_adapter", self._unload, methods=["POST"]))
        return Starlette(routes=routes, exception_handlers={404: _not_found})

    async def _models(self, request: Request) -> Response:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        data = [_card("served-base", self.base, None, 256)]
        data += [_card(name, root, "served-base", None) for name, root in self.loras.items()]
        return JSONResponse({"object": "list", "data": data})

    async def _load(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append({"path": request.url.path, "body": body})
        name, path = body["lora_name"], body["lora_path"]
        if self.fault:
            return _error(500, "InternalServerError", self.fault)
        if name in self.loras:
            message = f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, "
            return _error(400, "InvalidUserInput", message + "set 'load_inplace' to True.")
        if path not in self.folders:
            return _error(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
        self.loras[name], self.behind[name] = path, self.folders[path]
        return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: Request) -> Response:
        name = (await request.json())["lora_name"]
        if name not in self.loras:
            return _error(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        del self.loras[name], self.behind[name]
        return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append({"path": request.url.path, "body": body})
        name = body["model"]
        if name not in self.behind:
            return _error(404, "NotFoundError", f"The model `{name}` does not exist.", "model")
        asked = replace(_request(request.url.path, body), model=self.behind[name])
        try:
            pieces = self.engine.answer(asked, lambda: False)
        except Refusal as refusal:
            return _error(400, "BadRequestError", str(refusal))
        chat = request.url.path == "/v1/chat/completions"
        return StreamingResponse(_closing(_events(pieces, name, chat)), media_type="text/event-stream")

    async def _embed(self, request: Request) -> Response:
        body = await request.json()
        found = self.engine.embed(self.behind[body["model"]], body["input"], lambda: False)
        rows = [{"index": i, "object": "embedding", "embedding": list(v)} for i, v in enumerate(found.vectors)]
        usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens, "completion_tokens": 0}
        told = {"id": "embd-1", "object": "list", "created": 1, "model": body["model"], "data": rows, "usage": usage}
        return JSONResponse(told)


@contextmanager
def vllm_standing_in(standin: VllmStandIn) -> Iterator[str]:
    """Serve it at a port of this machine; yields the URL."""
    listener = listen("127.0.0.1", 0)
    server = make_server(standin.app(), Traffic())
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()


def _card(name: str, root: str, parent: str | None, longest: int | None) -> dict[str, Any]:
    permission = {"id": "modelperm-1", "object": "model_permission", "allow_sampling": True, "organization": "*"}
    card = {"id": name, "object": "model", "created": 1, "owned_by": "vllm", "root": root, "parent": parent}
    return {**card, "max_model_len": longest, "permission": [permission]}


def _error(status: int, kind: str, message: str, param: str | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": status}}, status)


async def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "Not Found"}, 404)


async def _closing(events: Generator[bytes]) -> AsyncIterator[bytes]:
    """The events; whoever leaves frees the engine."""
    try:
        async for event in iterate_in_threadpool(events):
            yield event
    finally:
        threading.Thread(target=_close, args=(events,)).start()


def _close(events: Generator[bytes]) -> None:
    with contextlib.suppress(ValueError):  # a thread is still in it
        events.close()
        return
    time.sleep(0.01)
    _close(events)


def _events(pieces: Iterator[Piece], name: str, chat: bool) -> Generator[bytes]:
    kind = "chat.completion.chunk" if chat else "text_completion"
    head = {"id": "chatcmpl-1" if chat else "cmpl-1", "object": kind, "created": 1, "model": name}
    if chat:
        first = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        yield _event({**head, "choices": [first]})
    for piece in pieces:
        yield _event({**head, "choices": [{"index": 0, **_choice(piece, chat, 0), "stop_reason": None}]})
        if piece.finish_reason:
            read, written = piece.prompt_tokens or 0, piece.completion_tokens or 0
            usage = {"prompt_tokens": read, "total_tokens": read + written, "completion_tokens": written}
            yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
