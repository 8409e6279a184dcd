"""What a person sees while something is at work: a bar and a line below it, or now and then a plain line."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from carrara.cli import console
from carrara.cli.console import TerminalProgress


def _screen(width: int, terminal: bool) -> tuple[TerminalProgress, io.StringIO]:
    out = io.StringIO()
    return TerminalProgress(Console(file=out, force_terminal=terminal, width=width, color_system=None)), out


def test_a_terminal_shows_the_newest_detail_below_the_bar() -> None:
    progress, out = _screen(100, True)
    with progress.track("training", 4, "step", done=1) as advance:
        for step in range(3):
            advance(1, f"loss {3 - step}.000 · rate 0.001 [bold]")
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).rstrip().splitlines()[-2:]
    assert "4/4 steps" in last[0]
    assert "left" in last[0]
    assert last[1].strip() == "loss 1.000 · rate 0.001 [bold]"


def test_a_narrow_terminal_loses_no_word_of_the_detail() -> None:
    progress, out = _screen(60, True)
    words = " · ".join(f"figure {number}" for number in range(12))
    with progress.track("training", 2, "step") as advance:
        advance(2, words)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).rstrip().splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert " ".join(" ".join(lines[-3:]).split()).endswith(words)


def test_without_a_terminal_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    progress, out = _screen(200, False)
    with progress.track("training", 10, "step") as advance:
        for step in range(10):
            advance(1, f"loss {step}")
    lines = out.getvalue().splitlines()
    assert lines == [
        "training: 3 of 10 steps, 42 s left  loss 2",
        "training: 6 of 10 steps, 24 s left  loss 5",
        "training: 9 of 10 steps, 6 s left  loss 8",
        "training: 10 of 10 steps, 60 s  loss 9",
    ]
