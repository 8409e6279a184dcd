"""A waiting line: one at a time, in the order of coming."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_UP = 0.1  # seconds between two looks at whether someone who waits has given up


class Line:
    """Lets one holder in at a time; `threading.Lock` does not promise the order, and cannot be given up."""

    def __init__(self) -> None:
        self._waiting: deque[object] = deque()
        self._moved = threading.Condition()

    @contextmanager
    def turn(self, cancelled: Callable[[], bool]) -> Iterator[bool]:
        """Wait for one's turn and hold it; yields False, holding nothing, if `cancelled` came true first."""
        ticket = object()
        with self._moved:
            self._waiting.append(ticket)
        try:
            yield self._wait(ticket, cancelled)
        finally:
            with self._moved:
                self._waiting.remove(ticket)
                self._moved.notify_all()

    def _wait(self, ticket: object, cancelled: Callable[[], bool]) -> bool:
        with self._moved:
            while self._waiting[0] is not ticket:
                if cancelled():
                    return False
                self._moved.wait(_LOOK_UP)
        return True
