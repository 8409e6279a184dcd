"""Intervals that cover what they should, at their ends too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.scorecard.privacy.intervals import area_under_curve, mean_of_exponentials, proportion


def test_a_share_of_none_and_of_all() -> None:
    assert proportion(0, 64) == pytest.approx((0.0, 1 - 0.025 ** (1 / 64)))
    assert proportion(64, 64) == pytest.approx((0.025 ** (1 / 64), 1.0))


@pytest.mark.parametrize(("n", "candidates"), [(1, 4096), (4, 4096), (24, 256)])
def test_the_exposure_of_unseen_secrets_is_covered(n: int, candidates: int) -> None:
    """1,000 draws of ranks that may be any: 95 % of the intervals hold 1.44 bits, give or take chance."""
    chance = np.random.default_rng(0)
    bits = np.log2(candidates / chance.integers(1, candidates + 1, (1000, n)))
    covered = [low <= 1 / math.log(2) <= high for low, high in map(mean_of_exponentials, bits.tolist())]
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_the_area_is_covered(shift: float) -> None:
    """Normal values `shift` apart, whose area is known."""
    chance = np.random.default_rng(1)
    true = 0.5 * math.erfc(-shift / 2)
    found = [
        area_under_curve(chance.normal(shift, 1, 40).tolist(), chance.normal(0, 1, 60).tolist()) for _ in range(400)
    ]
    assert np.mean([area for area, _ in found]) == pytest.approx(true, abs=0.01)
    assert 0.92 <= np.mean([low <= true <= high for _, (low, high) in found]) <= 0.98


def test_an_area_of_one_has_a_width() -> None:
    area, (low, high) = area_under_curve([2.0, 3.0, 4.0] * 4, [0.0, 1.0] * 6)
    assert (area, high) == (1.0, 1.0)
    assert 0.6 < low < 0.95
    area, (low, high) = area_under_curve([0.0] * 12, [1.0] * 12)
    assert (area, low) == (0.0, 0.0)
    assert 0.05 < high < 0.4


@given(st.lists(st.integers(0, 5), min_size=2, max_size=30), st.lists(st.integers(0, 5), min_size=2, max_size=30))
def test_the_area_is_what_it_is_called(higher: list[int], lower: list[int]) -> None:
    area, (low, high) = area_under_curve(list(map(float, higher)), list(map(float, lower)))
    wins = sum((a > b) + (a == b) / 2 for a in higher for b in lower)
    assert area == pytest.approx(wins / len(higher) / len(lower))
    assert 0 <= low <= area + 1e-9
    assert area - 1e-9 <= high <= 1
