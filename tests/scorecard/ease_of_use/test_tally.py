"""Intervals of clustered shares and means: known values, and the truth inside them as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from carrara.scorecard.ease_of_use.tally import Tally, change_interval, mean_interval, share_interval, tally


def test_alone_standing_answers_get_the_exact_interval() -> None:
    counted = tally([[1.0]] * 5 + [[0.0]] * 15)
    exact = stats.binomtest(5, 20).proportion_ci(0.95, "exact")
    assert share_interval(counted) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_where_all_are_alike_each_cluster_is_one_answer() -> None:
    low, high = share_interval(Tally((12.0,) * 10, (12,) * 10))
    assert (low, high) == (pytest.approx(0.025**0.1), 1.0)
    assert share_interval(Tally((0.0,) * 10, (12,) * 10)) == (0.0, pytest.approx(1 - 0.025**0.1))


def test_answers_of_one_mind_widen_the_interval() -> None:
    together = tally([[1.0] * 10] * 5 + [[0.0] * 10] * 5)
    apart = tally([[1.0] * 5 + [0.0] * 5] * 5 + [[1.0, 0.0] * 5] * 5)
    assert together.mean == apart.mean == 0.5
    low, high = share_interval(together)
    exact = stats.binomtest(5, 10).proportion_ci(0.95, "exact")
    assert exact.low - 0.06 < low < exact.low < exact.high < high < exact.high + 0.06
    assert share_interval(apart) == pytest.approx((0.4, 0.6), abs=0.01)


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=6), min_size=2, max_size=8))
@example([[5e-324, 0.0], [0.0, 0.0]])
def test_a_share_lies_in_its_interval_whatever_was_counted(clusters: list[list[float]]) -> None:
    counted = tally(clusters)
    low, high = share_interval(counted)
    assert 0 <= low <= counted.mean + 1e-9
    assert counted.mean - 1e-9 <= high <= 1
    assert low < high


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_truth_is_inside_as_often_as_said(share: float) -> None:
    generator = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        of_cluster = generator.beta(8 * share, 8 * (1 - share), size=10)
        low, high = share_interval(Tally(tuple(generator.binomial(12, of_cluster).astype(float)), (12,) * 10))
        inside += low <= share <= high
    assert inside / 400 >= 0.93


def test_a_difference_is_paired_by_cluster() -> None:
    levels = [0.0, 5.0, 10.0, 20.0, 40.0]
    before = tally([[level, level] for level in levels])
    after = tally([[level + 2, level + 2.2] for level in levels])
    low, high = change_interval(after, before, are_shares=False)
    assert low == pytest.approx(2.1)
    assert high == pytest.approx(2.1)
    assert mean_interval(after)[1] - mean_interval(after)[0] > 20
