"""Talking to the person at the terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from carrara.progress import Advance, Progress

if TYPE_CHECKING:
    from rich.console import Console

_EVERY = 15.0  # seconds between lines where there is no terminal to draw a bar on


def make_progress() -> Progress:
    """A Progress that draws on stderr."""
    from rich.console import Console

    return TerminalProgress(Console(stderr=True, highlight=False))


class TerminalProgress:
    """Sentences, and bars with rate and time left; plain lines where stderr is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, sentence: str) -> None:
        self._console.print(sentence, style="dim", markup=False, soft_wrap=True)

    @contextmanager
    def track(self, label: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
        if self._console.is_terminal:
            with self._bar(label, total, unit, done) as advance:
                yield advance
        else:
            yield self._lines(label, total, unit, done)

    @contextmanager
    def _bar(self, label: str, total: int, unit: str, done: int) -> Iterator[Advance]:
        from rich import progress as bars
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn(f"{unit}s"),
            bars.TimeElapsedColumn(),
            *((bars.TextColumn("left"), bars.TimeRemainingColumn()) if total else ()),
        )
        bar = bars.Progress(*columns, console=self._console)
        task = bar.add_task(label, total=total or None, completed=done)
        below = Text(style="dim")
        shown = Group(bar)

        def advance(count: int, detail: str = "") -> None:
            bar.update(task, advance=count)
            if detail:
                below.plain = detail
                shown.renderables[1:] = [below]

        with Live(shown, console=self._console):
            yield advance

    def _lines(self, label: str, total: int, unit: str, done: int) -> Advance:
        started = shown = time.monotonic()
        reached = done

        def advance(count: int, detail: str = "") -> None:
            nonlocal shown, reached
            reached += count
            now = time.monotonic()
            if now - shown < _EVERY and (reached < total or not total or now - started < 2):
                return
            shown = now
            if not total:
                self.say(f"{label}: {reached} {unit}s in {now - started:.0f} s")
                return
            rate = (reached - done) / (now - started)
            left = f"{(total - reached) / rate:.0f} s left" if reached < total else f"{now - started:.0f} s"
            self.say(f"{label}: {reached} of {total} {unit}s, {left}{'  ' + detail if detail else ''}")

        return advance


def print_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
    """One JSON object on stdout, or a list of them."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def print_table(columns: list[str], rows: list[list[str]], title: str | None = None) -> None:
    """A table on stdout; the first column is left-aligned, the others right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 160
    console.print(table)


def print_line(text: str) -> None:
    """One line of result on stdout."""
    sys.stdout.write(text + "\n")
