"""An engine that is replaced while it answers, and nobody who asks notices."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from carrara.serve.engine import ChatRequest, Embedded, Engine, Piece, TextRequest, Unavailable

_Kind = TypeVar("_Kind", bound=Engine)


class Relay(Generic[_Kind]):
    """Asks an engine; once another takes over, answers under way end where they began, and then the first is closed."""

    def __init__(self, engine: _Kind) -> None:
        self._now = _Shift(engine)
        self._before: weakref.WeakSet[_Shift[_Kind]] = weakref.WeakSet()  # those that somebody may still stay with
        self._replacing = threading.Lock()  # held while another engine is made, which may take minutes
        self._changing = threading.Lock()
        self._closed = False

    @property
    def engine(self) -> _Kind:
        """The engine that is asked now."""
        return self._now.engine

    def models(self) -> list[str]:
        """See Engine."""
        return self.engine.models()

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """See Engine."""
        stay = self._stay()
        return _pieces(stay, stay.engine.answer(request, cancelled))

    def embed(self, model: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> Embedded:
        """See Engine."""
        stay = self._stay()
        return stay.engine.embed(model, texts, cancelled)

    def describe(self, model: str) -> str:
        """See Engine."""
        return self.engine.describe(model)

    def close(self) -> None:
        """See Engine; interrupts all answers. An engine that is being made takes over no more, but is closed."""
        with self._changing:
            self._closed = True
        for shift in (*self._before, self._now):
            shift.engine.close()

    def replace(self, make: Callable[[_Kind], _Kind]) -> None:
        """Let the engine that `make` gives, of the one that is asked now, take over; raises what `make` raises."""
        with self._replacing:
            before = self._now
            if self._closed or not self._takes_over(before, make(before.engine)):
                raise Unavailable("the server is being stopped, so it takes no models.")
        before.end()

    def _takes_over(self, before: _Shift[_Kind], engine: _Kind) -> bool:
        """Whether this engine is asked from now on; it is closed where the relay is."""
        with self._changing:
            if not self._closed:
                self._now = _Shift(engine)
                self._before.add(before)
                return True
        engine.close()
        return False

    def _stay(self) -> _Stay:
        while (stay := self._now.enter()) is None:  # it ended since it was looked up
            pass
        return stay


class _Shift(Generic[_Kind]):
    """The time for which an engine is asked: closes it once that is over and nobody stays."""

    def __init__(self, engine: _Kind) -> None:
        self.engine = engine
        self._staying = 0
        self._over = False
        self._moving = threading.RLock()  # a stay may end in the midst of another's move, where memory is tidied

    def enter(self) -> _Stay | None:
        """A stay that ends when it is let go of; None once the shift is over."""
        with self._moving:
            if self._over:
                return None
            self._staying += 1
            return _Stay(self)

    def leave(self) -> None:
        with self._moving:
            self._staying -= 1
        self._close_if_done()

    def end(self) -> None:
        with self._moving:
            self._over = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        with self._moving:
            done = self._over and self._staying == 0
        if done:
            self.engine.close()


class _Stay:
    """One request's hold on an engine; an answer that nobody ever takes lets go of it, too."""

    def __init__(self, shift: _Shift[Any]) -> None:
        self._shift = shift
        self.engine: Engine = shift.engine

    def __del__(self) -> None:
        self._shift.leave()


def _pieces(stay: _Stay, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces; whoever holds this holds the stay."""
    yield from pieces
    del stay
