"""Between the event loop and the engine's threads: admits requests up to a limit and lets them be given up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from carrara.serve.engine import ChatRequest, Engine, Piece
from carrara.serve.protocol import ApiError

if TYPE_CHECKING:
    from starlette.types import Receive

_RETRY_AFTER = "5"  # seconds
_Item = Piece | Exception | None


class Desk:
    """Takes requests to the engine: one is answered, `waiting` more may wait."""

    def __init__(self, engine: Engine, waiting: int) -> None:
        self._engine = engine
        self._limit = waiting + 1
        self._inside = 0
        self._threads = ThreadPoolExecutor(self._limit, thread_name_prefix="answer")
        self._watchers: set[asyncio.Task[None]] = set()

    async def ask(self, request: ChatRequest, receive: Receive) -> AsyncIterator[Piece]:
        """The pieces of an answer; ends early when `receive` tells that the client has gone.

        Raises ApiError 429 when the line is full, and whatever the engine refuses, before the first piece.
        """
        if self._inside >= self._limit:
            message = f"{self._inside} requests are being answered or waiting; try again in {_RETRY_AFTER} seconds."
            raise ApiError(429, "queue_full", message, headers={"Retry-After": _RETRY_AFTER})
        self._inside += 1
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()
        try:
            pieces = await loop.run_in_executor(self._threads, self._engine.answer, request, cancelled.is_set)
        except BaseException:
            self._inside -= 1
            raise
        items: asyncio.Queue[_Item] = asyncio.Queue()
        # The place is given up when the engine lets go, not when the client does.
        loop.run_in_executor(self._threads, _pump, pieces, items, loop).add_done_callback(self._leave)
        # From here on the watcher sees to it that the engine stops, also if nobody ever takes a piece.
        watcher = asyncio.create_task(_watch(receive, cancelled))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return _drain(items, cancelled)

    def _leave(self, _: asyncio.Future[None]) -> None:
        self._inside -= 1


def _pump(pieces: Iterator[Piece], items: asyncio.Queue[_Item], loop: asyncio.AbstractEventLoop) -> None:
    """Run the engine in this thread and hand its pieces to the event loop; None marks the end."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped, and nobody listens
        last: _Item = None
        try:
            for piece in pieces:
                loop.call_soon_threadsafe(items.put_nowait, piece)
        except Exception as error:  # told to whoever waits for the pieces
            last = error
        if last is not None:
            loop.call_soon_threadsafe(items.put_nowait, last)
        loop.call_soon_threadsafe(items.put_nowait, None)


async def _drain(items: asyncio.Queue[_Item], cancelled: threading.Event) -> AsyncIterator[Piece]:
    try:
        while (item := await items.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        cancelled.set()


async def _watch(receive: Receive, cancelled: threading.Event) -> None:
    """Give the request up when the client goes; after a whole response that is told too, and changes nothing."""
    while (await receive())["type"] != "http.disconnect":
        pass
    cancelled.set()
