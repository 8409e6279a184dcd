"""The curves of a run: nothing is lost to a kill, and a run that went on has the file of one that was never stopped."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.tune.curves import Curves, read_curves, retell


def _point(step: int) -> dict[str, float]:
    held_out = {"validation_loss": 2.0 / step} if step % 5 == 0 else {}
    return {"step": step, "loss": 3.0 / step, "learning_rate": 1e-4, "gradient_norm": 0.5, **held_out}


def _write(path: Path, first: int, last: int) -> Curves:
    curves = Curves(path)
    curves.resume(first - 1)
    for step in range(first, last + 1):
        curves.write(_point(step))
    return curves


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_curves(path) == []
    _write(path, 1, 12).close()
    assert read_curves(path) == [_point(step) for step in range(1, 13)]
    assert [type(point["step"]) for point in read_curves(path)] == [int] * 12


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_run_that_went_on_has_the_same_file(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """However often it was killed, at whatever byte, and whichever checkpoint it went on from."""
    folder = tmp_path_factory.mktemp("curves")
    _write(folder / "whole", 1, 20).close()
    path, step = folder / "torn", 0
    for _ in range(data.draw(st.integers(1, 4))):
        reached = data.draw(st.integers(step, 20))
        _write(path, step + 1, reached).close()
        whole = path.read_bytes()
        torn = json.dumps(_point(reached + 1)).encode()
        path.write_bytes(whole + torn[: data.draw(st.integers(0, len(torn)))])
        assert read_curves(path) == [_point(n) for n in range(1, reached + 1)]
        step = data.draw(st.integers(0, reached))  # of the newest whole checkpoint
    _write(path, step + 1, 20).close()
    assert path.read_bytes() == (folder / "whole").read_bytes()


def test_kill_9_loses_no_point_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    code = f"""
import itertools
from pathlib import Path
from carrara.tune.curves import Curves
curves = Curves(Path({str(path)!r}))
curves.resume(0)
for step in itertools.count(1):
    curves.write({{"step": step, "loss": 1.0}})
    print(step, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    steps = [point["step"] for point in read_curves(path)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= told[-1]


def test_what_is_no_number_is_not_there(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "m")
    curves.resume(0)
    curves.write({"step": 1, "loss": math.nan, "gradient_norm": math.inf, "learning_rate": 1e-3})
    assert curves.describe() == "rate 0.001"
    curves.close()
    assert read_curves(tmp_path / "m") == [{"step": 1, "learning_rate": 1e-3}]


def test_a_line_for_the_terminal_tells_what_was_measured_and_nothing_else(tmp_path: Path) -> None:
    curves = _write(tmp_path / "m", 1, 4)
    assert curves.describe() == "loss 0.750 █▃▂▁ · gradient 0.5 · rate 0.0001"
    curves.write({**_point(5), "tokens_per_second": 1234.5, "memory_mb": 999.6})
    curves.write(_point(6))
    assert curves.describe().endswith("held-out 0.400 · gradient 0.5 · rate 0.0001 · 1,234 tokens/s · 1,000 MB")
    curves.close()


def test_the_trend_covers_the_whole_run_in_few_bars(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "m")
    curves.resume(0)
    bars = ""
    for step in range(1, 1001):
        curves.write({"step": step, "loss": 1000.0 - step})
        bars = curves.describe().split()[2]
        assert len(bars) <= 16
        assert list(bars) == sorted(bars, reverse=True)
    assert len(bars) >= 8
    assert (bars[0], bars[-1]) == ("█", "▁")
    curves.close()


def test_trackers_get_each_point_once_however_often_the_run_goes_on(tmp_path: Path) -> None:
    class Memory:
        """Keeps what it is told over restarts, as a tracker's server does."""

        held = 0

        def __init__(self) -> None:
            self.got: list[tuple[int, Mapping[str, float]]] = []

        def log(self, step: int, values: Mapping[str, float]) -> None:
            self.got.append((step, values))

        def close(self) -> None:
            self.held = self.got[-1][0]

    memory, path = Memory(), tmp_path / "m"
    for first, last in ((1, 12), (6, 8), (6, 15)):
        curves = Curves(path, [memory])
        curves.resume(first - 1)
        for step in range(first, last + 1):
            curves.write(_point(step))
        curves.close()
    assert [step for step, _ in memory.got] == list(range(1, 16))
    retell(path, [memory])
    assert len(memory.got) == 15
    late = Memory()
    retell(path, [late])
    assert late.got == memory.got
    assert late.held == 15
    assert memory.got[4][1] == {key: value for key, value in _point(5).items() if key != "step"}


def test_a_point_costs_next_to_nothing(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "m")
    curves.resume(0)
    began = time.process_time()
    for step in range(1, 2001):
        curves.write({**_point(step), "tokens": 1000, "seconds": 1.0, "tokens_per_second": 1000.0, "memory_mb": 900.0})
        curves.describe()
    curves.close()
    assert (time.process_time() - began) / 2000 < 1e-3
