"""Figures of a classification against hand-worked examples and their definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.evaluate import classification
from carrara.evaluate.classification import bins_of, labels_of, shares_of
from carrara.evaluate.scores import Record
from tests.verdict.invented import choice

LABELS = ["bad", "fair", "good"]


def _record(item: int, gold: int, shares: list[float]) -> Record:
    values = [math.log(share) for share in shares]
    taken = values.index(max(values))
    return replace(
        choice("mood", item, gold == taken), choices=LABELS, gold=gold, prediction=taken, loglikelihoods=values
    )


SURE, TORN = [0.8, 0.1, 0.1], [0.2, 0.5, 0.3]
RECORDS = [_record(0, 0, SURE), _record(1, 0, SURE), _record(2, 0, TORN), _record(3, 1, TORN), _record(4, 2, SURE)]


def test_each_label_has_its_precision_recall_and_f1() -> None:
    bad, fair, good = labels_of(RECORDS)
    assert (bad.items, bad.precision, bad.recall) == (3, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (fair.items, fair.precision, fair.recall, fair.f1) == (1, 0.5, 1.0, pytest.approx(2 / 3))
    assert (good.items, good.precision, good.recall, good.f1) == (1, 0.0, 0.0, 0.0)
    assert classification.macro_f1(RECORDS) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert classification.balanced_accuracy(RECORDS) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_a_label_that_neither_occurs_nor_is_taken_does_not_count() -> None:
    assert classification.macro_f1(RECORDS[:2]) == 1.0
    assert classification.balanced_accuracy(RECORDS[:3]) == pytest.approx(2 / 3)


def test_brier_and_calibration() -> None:
    right, wrong, torn = 0.04 + 0.01 + 0.01, 0.64 + 0.01 + 0.81, 0.64 + 0.25 + 0.09
    assert classification.brier(RECORDS[:2] + RECORDS[4:]) == pytest.approx((2 * right + wrong) / 3)
    assert classification.brier(RECORDS[2:3]) == pytest.approx(torn)
    assert classification.calibration_error(RECORDS[:1]) == pytest.approx(0.2)
    # five bins of one item: sure and right twice, torn and wrong, torn and right, sure and wrong
    assert classification.calibration_error(RECORDS) == pytest.approx((0.2 + 0.2 + 0.5 + 0.5 + 0.8) / 5)


@given(st.lists(st.tuples(st.floats(0.34, 0.99), st.booleans()), min_size=1, max_size=80))
def test_bins_hold_every_item_and_as_many_each(judged: list[tuple[float, bool]]) -> None:
    records = [
        _record(n, 0 if right else 1, [sure, (1 - sure) / 2, (1 - sure) / 2]) for n, (sure, right) in enumerate(judged)
    ]
    bins = bins_of(records)
    assert sum(each.count for each in bins) == len(records)
    assert max(each.count for each in bins) - min(each.count for each in bins) <= 1
    assert [each.confidence for each in bins] == sorted(each.confidence for each in bins)
    assert sum(each.count * each.accuracy for each in bins) == pytest.approx(sum(right for _, right in judged))


def test_shares_survive_far_likelihoods() -> None:
    assert shares_of([-2000.0, -2000.0 + math.log(3)]) == pytest.approx([0.25, 0.75])
