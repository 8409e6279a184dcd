"""Confusion matrices against counts made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carrara.evaluate.scores import Record
from carrara.verdict.confusion import confusion

from .invented import choice

LABELS = ["negative", "neutral", "positive"]


def _labelled(item: int, gold: int, prediction: int | None) -> Record:
    return replace(choice("sentiment", item, right=True), choices=LABELS, gold=gold, prediction=prediction)


def test_counts_and_row_shares() -> None:
    taken = [(0, 0), (0, 0), (0, 2), (0, 0), (2, 2), (2, 0)]
    found = confusion("acc", [_labelled(item, gold, choice) for item, (gold, choice) in enumerate(taken)])
    assert found is not None
    assert found.labels == tuple(LABELS)
    assert found.counts == ((3, 0, 1), (0, 0, 0), (1, 0, 1))
    assert found.shares == ((0.75, 0.0, 0.25), (0.0, 0.0, 0.0), (0.5, 0.0, 0.5))


def test_written_answers_that_name_no_label_have_a_column() -> None:
    taken = [(0, 0), (0, None), (1, 2), (2, None), (2, 2)]
    records = [replace(_labelled(n, gold, choice), loglikelihoods=[]) for n, (gold, choice) in enumerate(taken)]
    found = confusion("acc", records)
    assert found is not None
    assert found.columns == (*LABELS, "none")
    assert found.counts == ((1, 0, 0, 1), (0, 0, 1, 0), (0, 0, 1, 1))
    assert found.shares[0] == (0.5, 0.0, 0.0, 0.5)
    named = confusion("acc", [record for record in records if record.prediction is not None])
    assert named is not None
    assert (named.columns, named.counts[0]) == (tuple(LABELS), (1, 0, 0))


def test_the_metric_says_which_choice_counts() -> None:
    records = [replace(_labelled(item, 0, 1), prediction_norm=2) for item in range(3)]
    normed = confusion("acc_norm", records)
    assert normed is not None
    assert normed.counts[0] == (0, 0, 3)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [_labelled(0, 0, 0), replace(_labelled(1, 0, 0), choices=["a", "b", "c"])],  # choices of its own
        [_labelled(0, 0, None)],
        [replace(_labelled(0, 0, 0), gold=None)],
        [replace(_labelled(0, 0, 0), choices=["the only one"])],
    ],
)
def test_other_tasks_have_none(records: list[Record]) -> None:
    assert confusion("acc", records) is None
