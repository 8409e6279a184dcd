"""Learning curves: nested rows, a probe that is kept and leaves no runs behind, and a sentence that fits the curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from carrara.errors import GateFailed, Refusal
from carrara.evaluate.scores import Record
from carrara.models import Model
from carrara.progress import Silent
from carrara.recipe import CostRecipe, PrepareRecipe
from carrara.scorecard.accuracy import learning_curve, outlook
from carrara.scorecard.accuracy.outlook import figures_of
from carrara.scorecard.accuracy.probe import Point, steps_of
from carrara.scorecard.figure import Figure
from carrara.scorecard.subject import Subject
from carrara.workspace import Workspace
from tests.scorecard.accuracy.test_heldout import write_labelled
from tests.tiny import one_thread, prepared, write_pairs

SIZES = (100, 300, 1000)


def _records(loss: float, right: float, random: np.random.Generator) -> list[Record]:
    """200 held-out rows with about this loss, the first of them right."""
    values = loss * (1 + 0.01 * random.standard_normal(200))
    return [
        Record(
            task="heldout",
            item=row,
            id=str(row),
            question=str(row),
            choices=["yes", "no"],
            prompt_sha256="",
            value=float(value),
            correct=row < 200 * right,
            tokens=1,
            bytes=1,
            seconds=0.0,
        )
        for row, value in enumerate(values)
    ]


def _points(loss: Callable[[int], float], right: Callable[[int], float] = lambda rows: 0.5) -> list[Point]:
    random = np.random.default_rng(0)
    steps = [(0, 0), *((rows, order) for rows in SIZES for order in (0, 1) if rows < 1000 or not order)]
    return [Point(rows, order, _records(loss(rows or 10), right(rows or 10), random)) for rows, order in steps]


def _by_measure(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.measure: figure for figure in figures}


def test_steps_are_nested_sizes_of_at_most_a_thousand() -> None:
    assert steps_of(50_000) == [(100, 0), (100, 1), (300, 0), (300, 1), (1000, 0)]
    assert steps_of(250) == [(25, 0), (25, 1), (75, 0), (75, 1), (250, 0)]
    with pytest.raises(Refusal, match="99 training rows"):
        steps_of(99)


def test_a_steep_curve_says_that_more_rows_help() -> None:
    found = _by_measure(figures_of(_points(lambda rows: 1 + 3 * rows**-0.2), 4000, 0, has_labels=False))
    assert found["learning curve"].value == "more rows help"
    assert "40,000" in found["learning curve"].meaning
    foretold = found["loss foretold at 4,000 rows"]
    assert "likely four chances in five" in found["learning curve"].source
    assert foretold.kind == "derived"
    assert foretold.interval is not None
    assert foretold.interval[0] < 1 + 3 * 4000**-0.2 < foretold.interval[1]
    assert list(found) == [
        "learning curve",
        *(f"loss at {rows} rows" for rows in ("0", "100", "300", "1,000")),
        *(f"loss foretold at {rows} rows" for rows in ("3,000", "4,000", "40,000")),
    ]


def test_a_flat_curve_says_that_it_is_enough() -> None:
    found = _by_measure(figures_of(_points(lambda rows: 1.5), 1000, 0, has_labels=False))
    assert found["learning curve"].value == "enough rows"


def test_a_rising_loss_says_that_it_is_enough() -> None:
    found = _by_measure(figures_of(_points(lambda rows: 2 - rows**-0.3), 1000, 0, has_labels=False))
    assert found["learning curve"].value == "enough rows"


def test_noise_says_that_it_cannot_tell() -> None:
    random = np.random.default_rng(1)
    found = _by_measure(figures_of(_points(lambda rows: 1.5 + 0.3 * random.standard_normal()), 1000, 0, False))
    assert found["learning curve"].value == "cannot tell"


def test_labels_are_judged_by_accuracy_in_percent() -> None:
    points = _points(lambda rows: 1.0, lambda rows: 0.9 - rows**-0.3)
    found = _by_measure(figures_of(points, 5000, 0, has_labels=True))
    assert "points of accuracy" in found["learning curve"].meaning
    assert found["accuracy at 1,000 rows"].value == pytest.approx(77.5, abs=0.6)
    foretold = found["accuracy foretold at 50,000 rows"]
    assert isinstance(foretold.value, float)
    assert 77 < foretold.value <= 100
    assert foretold.better == "higher"


def _subject(workspace: Workspace, model: Model, rows: Path, test: float = 0.3) -> Subject:
    dataset = prepared(workspace, rows, PrepareRecipe(test=test, validation=0))
    return Subject(workspace, model, None, None, dataset, CostRecipe(), Silent())


@pytest.mark.slow
def test_a_probe_is_made_once_and_leaves_no_runs(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    subject = _subject(workspace, tiny_model, write_labelled(tmp_path / "labels.jsonl", 170))
    with one_thread():
        first = learning_curve(subject)
    found = _by_measure(first)
    rows = subject.dataset.artefact.summary["splits"]["train"] if subject.dataset else 0
    assert {"learning curve", "accuracy at 0 rows", f"loss at {rows} rows", "loss foretold at 3,000 rows"} <= {*found}
    untrained, trained = found["loss at 0 rows"].value, found[f"loss at {rows} rows"].value
    assert isinstance(untrained, float)
    assert isinstance(trained, float)
    assert trained < untrained
    assert workspace.list("run") == []
    assert len(workspace.list("dataset")) == 1
    (artefact,) = workspace.list("curve")
    assert not (artefact.path / "trained").exists()
    assert learning_curve(subject) == first  # in no time
    assert len(workspace.list("curve")) == 1


def test_too_little_to_learn_from_or_to_judge_by_is_a_sentence(
    workspace: Workspace, tiny_model: Model, tmp_path: Path
) -> None:
    few = _subject(workspace, tiny_model, write_pairs(tmp_path / "few.jsonl"))
    bare = _subject(workspace, tiny_model, write_pairs(tmp_path / "bare.jsonl", 50), test=0)
    for subject, word in (
        (few, "a learning curve needs 100"),
        (bare, "test split"),
        (replace(few, dataset=None), "data"),
    ):
        (figure,) = learning_curve(subject)
        assert (figure.measure, figure.kind) == ("learning curve", "unknown")
        assert word in figure.source


def test_a_training_that_diverges_is_a_sentence(
    workspace: Workspace, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*arguments: object) -> None:
        raise GateFailed("the run diverged at step 3.")

    monkeypatch.setattr(outlook, "learn", diverge)
    (figure,) = learning_curve(_subject(workspace, tiny_model, write_labelled(tmp_path / "labels.jsonl")))
    assert (figure.kind, figure.source) == ("unknown", "the run diverged at step 3.")
    assert workspace.list("curve") == []
