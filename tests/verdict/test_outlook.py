"""What the rest of a benchmark would show: from a pilot, as the same test has it on all of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carrara.evaluate.scores import Scores
from carrara.verdict import power
from carrara.verdict.compare import compare
from tests.verdict.invented import flips, scores, texts


def _of(found: Scores, whole: int, seconds: float = 0.0) -> Scores:
    """The scores as a pilot of tasks that have `whole` items, each of which took so long."""
    records = [replace(record, seconds=seconds) for record in found.records]
    return Scores(records, {**found.receipt, "tasks": {task: {"of": whole} for task in found.tasks()}})


def test_a_pilot_tells_what_the_whole_would_take_and_show() -> None:
    base, tuned = (_of(scores(part), 2376, 1.5) for part in flips("arc_easy", 200, 20, 10))
    (note,) = [note for note in compare(base, tuned).notes if "all of them would" in note]
    now, then = (100 * power.detectable_share(0.15, n) for n in (200, 2376))
    assert note == (
        f"arc_easy: these 200 of 2,376 items show differences from {now:.1f} points on; all of them would take about "
        f"1 h 49 min more for both models and show them from {then:.1f} points on."
    )
    assert then < now / 3
    assert power.power_of_mcnemar(then / 100, 0.15, 2376) == pytest.approx(0.8, abs=0.01)


def test_continuous_measures_shrink_with_the_root_of_the_items() -> None:
    base = _of(scores(texts("truthfulqa_mc2", [0.1 * (n % 7) for n in range(100)])), 400)
    tuned = _of(scores(texts("truthfulqa_mc2", [0.1 * (n % 5) for n in range(100)])), 400)
    verdict = compare(base, tuned)
    (row,) = verdict.primaries()
    (note,) = [note for note in verdict.notes if "all of them would" in note]
    assert f"show them from {100 * row.detectable / 2:.1f} points on" in note


def test_a_whole_benchmark_has_no_outlook() -> None:
    base, tuned = (_of(scores(part), 200) for part in flips("arc_easy", 200, 20, 10))
    assert not [note for note in compare(base, tuned).notes if "all of them would" in note]
