"""How a stage tells what it is doing. The command line draws it; other callers may stay silent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol


class Advance(Protocol):
    """Moves a progress bar on by `count` units; `detail` replaces the line below the bar."""

    def __call__(self, count: int, detail: str = "") -> None: ...


class Progress(Protocol):
    """Receives sentences and progress; nothing that is said here changes a result."""

    def say(self, sentence: str) -> None: ...

    def track(self, label: str, total: int, unit: str, done: int = 0) -> AbstractContextManager[Advance]:
        """Count up to `total`, 0 where nobody knows how many there are."""
        ...


class Silent:
    """The Progress that says nothing."""

    def say(self, sentence: str) -> None:
        del sentence

    @contextmanager
    def track(self, label: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
        del label, total, unit, done
        yield _ignore


@dataclass(frozen=True)
class Masked:
    """The Progress that changes sentences before they are said, such as those that name fields of private rows."""

    progress: Progress
    change: Callable[[str], str]

    def say(self, sentence: str) -> None:
        self.progress.say(self.change(sentence))

    def track(self, label: str, total: int, unit: str, done: int = 0) -> AbstractContextManager[Advance]:
        return self.progress.track(label, total, unit, done)


def _ignore(count: int, detail: str = "") -> None:
    del count, detail
