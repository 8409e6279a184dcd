"""A waiting line in front of one or several places, in the order of coming."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

_LOOK_UP = 0.1  # seconds between two looks at whether someone who waits has given up


class Line:
    """Lets one holder into each place; `threading.Semaphore` does not promise the order, and cannot be given up."""

    def __init__(self, places: int = 1) -> None:
        self._free = list(range(places))
        self._waiting: deque[object] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def turn(
        self, cancelled: Callable[[], bool], choose: Callable[[Sequence[int]], int] = lambda free: free[0]
    ) -> Iterator[int | None]:
        """Wait for one's turn and hold a place; yields None, holding nothing, if `cancelled` came true first.

        `choose` picks one of the free places, which come in the order in which they were left.
        """
        place = self._wait(cancelled, choose)
        try:
            yield place
        finally:
            if place is not None:
                with self._moved:
                    self._free.append(place)
                    self._moved.notify_all()

    def _wait(self, cancelled: Callable[[], bool], choose: Callable[[Sequence[int]], int]) -> int | None:
        ticket = object()
        with self._moved:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or not self._free:
                    if cancelled():
                        return None
                    self._moved.wait(_LOOK_UP)
                place = choose(self._free)
                self._free.remove(place)
                return place
            finally:
                self._waiting.remove(ticket)
                self._moved.notify_all()
