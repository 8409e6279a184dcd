"""The outermost layer: each request gets an id, is counted while it lasts, and is told of once it is over."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carrara.serve.answered import Answered

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANSWERING = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})

_KEY = "carrara.record"
_LONGEST_NAME = 1000  # characters, beyond which a name is no model's
_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_log = logging.getLogger(__name__)


@dataclass
class Record:
    """What is known of a request, filled in while it goes on; the fields are those of Answered.

    `first_token` is the time to it, in seconds.
    """

    request: str
    route: str
    started: float = field(default_factory=time.perf_counter)
    who: str = ""
    model: str = ""
    status: int = 0
    reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token: float | None = None
    asked: str = ""
    said: str = ""
    engine: str = ""
    role: str = ""
    offered: str = ""

    @property
    def named(self) -> str:
        """The model's name for logs: whole up to a bound, for it may be a path or a client's nonsense."""
        if len(self.model) <= _LONGEST_NAME:
            return self.model
        digest = hashlib.sha256(self.model.encode("utf-8", errors="replace")).hexdigest()
        return f"{self.model[:_LONGEST_NAME]}… (SHA-256 of the whole name {digest})"

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self.started

    def answered(self) -> Answered:
        """The record for others."""
        return Answered(
            request=self.request,
            who=self.who,
            route=self.route,
            model=self.named,
            status=self.status,
            reason=self.reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            seconds=self.seconds,
            asked=self.asked,
            said=self.said,
            engine=self.engine,
            role=self.role,
            offered=self.offered,
        )


@dataclass
class Traffic:
    """How many requests are under way, whether new ones are still taken, and the thread that tells of them.

    `break_off` ends the answers under way; each client is told so.
    """

    under_way: int = 0
    draining: bool = False
    break_off: Callable[[], None] = lambda: None
    tellers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="record"))


def record_of(scope: Scope) -> Record:
    """The record of a request that passed the Recorder."""
    return scope[_KEY]


class Recorder:
    """ASGI middleware around everything else. `tell` hears of every request, `on_answer` of those for answers by a key.

    `on_answer` may take its time: it is called in a thread of its own, for one request after the other, and a request
    is not over before it has returned.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: frozenset[str],
        traffic: Traffic,
        tell: Callable[[Record], None],
        on_answer: Callable[[Answered], None] | None,
    ) -> None:
        self._app = app
        self._routes = routes
        self._traffic = traffic
        self._tell = tell
        self._on_answer = on_answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":  # nothing here speaks it
            return await send({"type": "websocket.close", "code": 1008})
        path = scope["path"]
        record = Record(_request_id(scope), path if path in self._routes else "other")
        scope[_KEY] = record
        name = (b"x-request-id", record.request.encode())

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", ()), name]
            await send(message)

        self._traffic.under_way += 1
        try:
            await self._app(scope, receive, told)
        finally:
            try:
                await self._over(record, record.route in ANSWERING and scope["method"] == "POST")
            finally:
                self._traffic.under_way -= 1

    async def _over(self, record: Record, answering: bool) -> None:
        if answering and not record.reason:
            record.reason = "client_gone"
        self._tell(record)
        if answering and record.who and self._on_answer is not None:
            told = self._traffic.tellers.submit(_call, self._on_answer, record.answered())
            await asyncio.shield(asyncio.wrap_future(told))


def _call(on_answer: Callable[[Answered], None], answered: Answered) -> None:
    try:
        on_answer(answered)
    except Exception as error:  # its message may hold what was said
        _log.error("request %s was not recorded: %s", answered.request, type(error).__name__)


def _request_id(scope: Scope) -> str:
    """The client's id for the request if it can be trusted in headers and logs, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return value.decode()
    return uuid.uuid4().hex
