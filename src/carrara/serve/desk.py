"""Between the event loop and the engine's threads: admits requests up to a limit and lets them be given up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from carrara.serve.engine import ChatRequest, Embedded, Engine, Piece, TextRequest
from carrara.serve.protocol import ApiError

if TYPE_CHECKING:
    from starlette.types import Receive

RETRY_AFTER = "5"  # seconds

_AHEAD = 1024  # pieces that the engine may be ahead of the client
_PATIENCE = 10.0  # seconds that the engine waits in all for a client that does not read
_Item = tuple[int, Piece] | Exception | None
_Result = TypeVar("_Result")


class Desk:
    """Takes requests to the engine: `at_once` are answered, `waiting` more may wait inside the engine."""

    def __init__(self, engine: Engine, at_once: int, waiting: int) -> None:
        self._engine = engine
        self._at_once = at_once
        self._limit = at_once + waiting
        self._inside = 0
        self._open: set[threading.Event] = set()  # what tells the engine to give a request up
        self._broken_off = False
        self._threads = ThreadPoolExecutor(self._limit, thread_name_prefix="answer")
        self._watchers: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many requests wait for others to be answered."""
        return max(0, self._inside - self._at_once)

    async def ask(
        self, requests: Sequence[ChatRequest | TextRequest], receive: Receive
    ) -> AsyncIterator[tuple[int, Piece]]:
        """The pieces of the answers to requests, one after another, with the place of the request they answer.

        They end early when `receive` tells that the client has gone. Raises ApiError 429 when the line is full, and
        whatever the engine refuses, before the first piece.
        """
        cancelled = self._enter()
        try:
            first = await self._in_thread(lambda: self._engine.answer(requests[0], cancelled.is_set))
        except BaseException:
            self._leave(cancelled)
            raise
        pieces = self._one_after_another(first, requests[1:], cancelled)
        stream = _Stream(asyncio.get_running_loop(), cancelled)
        # The place is given up when the engine lets go, not when the client does.
        self._in_thread(lambda: stream.fill(pieces)).add_done_callback(partial(self._leave, cancelled))
        # From here on the watcher sees to it that the engine stops, also if nobody ever takes a piece.
        self._watch(receive, cancelled)
        return stream.drain()

    async def embed(self, model: str, texts: Sequence[str], receive: Receive) -> Embedded:
        """The vectors of texts; raises as `ask` does, and ApiError 499 when the client has gone."""
        cancelled = self._enter()
        done = self._in_thread(lambda: self._engine.embed(model, texts, cancelled.is_set))
        done.add_done_callback(partial(self._leave, cancelled))
        self._watch(receive, cancelled)
        embedded = await asyncio.shield(done)  # the place is given up when the engine lets go
        if cancelled.is_set():
            raise self.unfinished()
        return embedded

    def break_off(self) -> None:
        """Give up every request that is inside; each is told so."""
        self._broken_off = True
        for cancelled in self._open:
            cancelled.set()

    def unfinished(self) -> ApiError:
        """Why a request has not got all of its answer, though the engine failed at nothing."""
        if self._broken_off:
            return ApiError(503, "stopping", "the server stops, and breaks this answer off; ask again later.")
        return ApiError(499, "client_gone", "the client has gone.")

    def _watch(self, receive: Receive, cancelled: threading.Event) -> None:
        watcher = asyncio.create_task(_until_gone(receive, cancelled))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    def _enter(self) -> threading.Event:
        if self._inside >= self._limit:
            message = f"{self._inside} requests are being answered or waiting; try again in {RETRY_AFTER} seconds."
            raise ApiError(429, "queue_full", message, headers={"Retry-After": RETRY_AFTER})
        self._inside += 1
        cancelled = threading.Event()
        self._open.add(cancelled)
        return cancelled

    def _leave(self, cancelled: threading.Event, done: asyncio.Future[Any] | None = None) -> None:
        self._inside -= 1
        self._open.discard(cancelled)
        if done is not None and not done.cancelled():
            done.exception()  # nobody may be left to ask for it

    def _in_thread(self, call: Callable[[], _Result]) -> asyncio.Future[_Result]:
        return asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _one_after_another(
        self, first: Iterator[Piece], others: Sequence[ChatRequest | TextRequest], cancelled: threading.Event
    ) -> Generator[tuple[int, Piece]]:
        for piece in first:
            yield 0, piece
        for index, request in enumerate(others, 1):
            if cancelled.is_set():
                return
            for piece in self._engine.answer(request, cancelled.is_set):
                yield index, piece


class _Stream:
    """Pieces on their way from the engine's thread to the event loop; no more than _AHEAD of them at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, cancelled: threading.Event) -> None:
        self._loop = loop
        self._cancelled = cancelled
        self._items: asyncio.Queue[_Item] = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)

    def fill(self, pieces: Generator[tuple[int, Piece]]) -> None:
        """Run the engine in this thread and hand its pieces to the event loop; None marks the end."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped, and nobody listens
            last: _Item = None
            patience = _PATIENCE
            try:
                with contextlib.closing(pieces):  # or the engine's place would stay taken while the error waits
                    for piece in pieces:
                        patience = self._wait_for_room(patience)
                        self._put(piece)
            except Exception as error:  # told to whoever waits for the pieces
                last = error
            if last is not None:
                self._put(last)
            self._put(None)

    def _wait_for_room(self, patience: float) -> float:
        """The seconds of patience that are left once there is room; raises ApiError when there are none."""
        if self._room.acquire(blocking=False):
            return patience
        started = time.monotonic()
        while not self._room.acquire(timeout=0.1):
            if time.monotonic() - started > patience and not self._cancelled.is_set():
                self._cancelled.set()
                raise ApiError(408, "client_too_slow", "the client did not take the answer in time.")
            if self._cancelled.is_set():
                return 0.0
        return patience - (time.monotonic() - started)

    def _put(self, item: _Item) -> None:
        self._loop.call_soon_threadsafe(self._items.put_nowait, item)

    async def drain(self) -> AsyncIterator[tuple[int, Piece]]:
        """The pieces as they come; whoever stops taking them cancels the rest."""
        try:
            while (item := await self._items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                self._room.release()
                yield item
        finally:
            self._cancelled.set()


async def _until_gone(receive: Receive, cancelled: threading.Event) -> None:
    """Give the request up when the client goes; after a whole response that is told too, and changes nothing."""
    while (await receive())["type"] != "http.disconnect":
        pass
    cancelled.set()
