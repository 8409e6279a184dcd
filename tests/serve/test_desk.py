"""Between the event loop and the engine's threads: whoever does not read gives his place back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from carrara.data.example import Message
from carrara.serve.desk import Desk
from carrara.serve.engine import ChatRequest, Piece, TextRequest

from .scripted import Scripted


class _Endless(Scripted):
    """Holds a place of the engine until its generator is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        try:
            while True:
                yield Piece("word ")
        finally:
            self.let_go.set()


async def _stays() -> Any:
    await asyncio.Event().wait()


def test_a_slow_readers_place_is_given_back_while_nobody_takes_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.serve.desk._PATIENCE", 0.1)
    engine = _Endless()

    async def ask() -> bool:
        desk = Desk(engine, 1, 0)
        pieces = await desk.ask([ChatRequest(model="m", messages=(Message("user", "hello"),))], _stays)
        given_back = await asyncio.to_thread(engine.let_go.wait, 5)
        assert await anext(pieces) == (0, Piece("word "))  # what was said before is still there
        return given_back

    assert asyncio.run(ask())
