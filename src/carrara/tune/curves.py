"""The curves of a run: one JSON object for each step in `metrics.jsonl`, and a copy for whoever else wants them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from carrara.workspace import write_atomically

if TYPE_CHECKING:
    from carrara.tune.trackers import Tracker

METRICS = "metrics.jsonl"
_BARS = "▁▂▃▄▅▆▇█"
_LONGEST_TREND = 16  # bars; when there are more, each stands for twice as many steps
_SHOWN = {
    "validation_loss": "held-out {:.3f}",
    "gradient_norm": "gradient {:.2g}",
    "learning_rate": "rate {:.2g}",
    "tokens_per_second": "{:,.0f} tokens/s",
    "memory_mb": "{:,.0f} MB",
}


class Curves:
    """Writes a run's points as they come, and draws the newest for a terminal. `resume` comes first, `close` last.

    A point holds step (from 1), loss and validation_loss (nats per supervised token), learning_rate, gradient_norm
    (before clipping), tokens, supervised_tokens and seconds (of the step), tokens_per_second, memory_mb; what was not
    measured at a step, or is no finite number, is not there. Only the leading process has a `path`.
    """

    def __init__(self, path: Path | None, trackers: Sequence[Tracker] = ()) -> None:
        self._path = path
        self._trackers = trackers
        self._file: TextIO | None = None
        self._newest: dict[str, float] = {}  # by key, the last that was measured
        self._trend = _Trend()

    def resume(self, step: int) -> None:
        """Go on after `step`, 0 for the beginning: what an earlier try wrote of later steps is dropped atomically."""
        if self._path is None:
            return
        kept = [point for point in read_curves(self._path) if point["step"] <= step]
        write_atomically(self._path, "".join(map(_line, kept)))
        self._file = self._path.open("a", encoding="utf-8")
        for point in kept:
            self._tell(point)

    def write(self, point: Mapping[str, float]) -> None:
        """Append a step's point; a kill after this returned does not lose it. Raises OSError on a full disk."""
        finite = {key: value for key, value in point.items() if math.isfinite(value)}
        if self._path is not None:
            assert self._file is not None, "resume comes first"
            self._file.write(_line(finite))
            self._file.flush()
        self._tell(finite)

    def describe(self) -> str:
        """What was last measured, in one line; the bars are the trend of the loss since the first step."""
        loss = f"loss {self._newest['loss']:.3f} {self._trend.bars()}" if "loss" in self._newest else ""
        rest = [text.format(self._newest[key]) for key, text in _SHOWN.items() if key in self._newest]
        return " · ".join(filter(None, [loss, *rest]))

    def close(self) -> None:
        """Let go of the file and the trackers."""
        if self._file is not None:
            self._file.close()
        for tracker in self._trackers:
            tracker.close()

    def _tell(self, point: Mapping[str, float]) -> None:
        self._newest.update(point)
        if "loss" in point:
            self._trend.add(point["loss"])
        for tracker in self._trackers:
            if point["step"] > tracker.held:
                tracker.log(int(point["step"]), {key: value for key, value in point.items() if key != "step"})


def read_curves(path: Path) -> list[dict[str, Any]]:
    """The points in a file of them, oldest first; a last line that a kill tore is left out, no file has no points."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def retell(path: Path, trackers: Sequence[Tracker]) -> None:
    """Tell trackers what they do not hold yet of a run that is finished, and let go of them."""
    curves = Curves(None, trackers)
    for point in read_curves(path):
        curves.write(point)
    curves.close()


def _line(point: Mapping[str, float]) -> str:
    return json.dumps(point) + "\n"


class _Trend:
    """The means of equal stretches of a series, however long it grows."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._sum, self._count, self._width = 0.0, 0, 1  # of the stretch that is not full yet

    def add(self, value: float) -> None:
        self._sum, self._count = self._sum + value, self._count + 1
        if self._count < self._width:
            return
        self._means.append(self._sum / self._width)
        self._sum, self._count = 0.0, 0
        if len(self._means) > _LONGEST_TREND:
            self._sum, self._count = self._means.pop() * self._width, self._width
            self._means = [(a + b) / 2 for a, b in zip(self._means[::2], self._means[1::2], strict=True)]
            self._width *= 2

    def bars(self) -> str:
        if not self._means:
            return ""
        low, high = min(self._means), max(self._means)
        scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
        return "".join(_BARS[round((mean - low) * scale)] for mean in self._means)
