"""Stated power is real power: by simulation, by the facts' table, and back from differences to numbers of items."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.verdict import power, statistics

GRID = [(100, 0.2), (817, 0.05), (817, 0.15), (1172, 0.03), (1172, 0.1), (10_042, 0.05), (10_042, 0.2)]


def simulated_power(n: int, flipping: float, difference: float, alpha: float, draws: int = 20_000) -> float:
    """How often exact McNemar finds the difference, by drawing tables."""
    won, lost = (flipping + difference) / 2, (flipping - difference) / 2
    drawn = np.random.default_rng(0).multinomial(n, [won, max(0.0, lost), 1 - won - max(0.0, lost)], size=draws)
    tables, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    found = [a > b and statistics.mcnemar_exact(int(a), int(b)) < alpha for a, b in tables]
    return float(times[found].sum()) / draws


@pytest.mark.parametrize(("n", "flipping"), GRID)
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3])
def test_power_at_the_detectable_difference_is_80_percent(n: int, flipping: float, alpha: float) -> None:
    difference = power.detectable_share(flipping, n, alpha)
    assert 0.78 <= simulated_power(n, flipping, difference, alpha) <= 0.82
    assert power.power_of_mcnemar(difference, flipping, n, alpha) == pytest.approx(0.8, abs=1e-6)


def test_where_hardly_anything_flips_all_of_it_must_flip_one_way() -> None:
    """Of 1,172 items 8 or so must flip to right, so that 6 do in four of five repetitions."""
    difference = power.detectable_share(0.0, 1172)
    assert difference == power.detectable_share(0.002, 1172)
    assert difference * 1172 == pytest.approx(7.9, abs=0.05)
    assert 0.78 <= simulated_power(1172, difference, difference, 0.05) <= 0.82


def test_too_few_items_detect_nothing() -> None:
    assert power.detectable_share(0.5, 5) == math.inf
    assert 0.9 < power.detectable_share(1.0, 6) < 1


@pytest.mark.parametrize(
    ("n", "points"),
    [
        (1172, (1.42, 1.83, 2.59, 3.17, 3.66)),
        (2376, (1.00, 1.29, 1.82, 2.23, 2.57)),
        (3548, (0.81, 1.05, 1.49, 1.82, 2.10)),
        (817, (1.70, 2.19, 3.10, 3.80, 4.38)),
        (10042, (0.48, 0.63, 0.88, 1.08, 1.25)),
        (14042, (0.41, 0.53, 0.75, 0.92, 1.06)),
    ],
)
def test_exact_differences_are_little_above_the_usual_formula(n: int, points: tuple[float, ...]) -> None:
    """2.80 * sqrt(share / n), for shares of flipping items of 3, 5, 10, 15 and 20 %, takes it for a normal test."""
    found = [100 * power.detectable_share(share, n) for share in (0.03, 0.05, 0.1, 0.15, 0.2)]
    assert all(usual < exact < 1.1 * usual for usual, exact in zip(points, found, strict=True))


@given(n=st.integers(1, 3000), flipping=st.just(0.0) | st.floats(1e-6, 1), alpha=st.sampled_from([0.05, 0.01]))
@settings(max_examples=60, deadline=None)
def test_any_share_gives_a_difference_or_infinity(n: int, flipping: float, alpha: float) -> None:
    difference = power.detectable_share(flipping, n, alpha)
    assert 0 < difference <= 1 or difference == math.inf
    if difference <= 1:
        assert power.power_of_mcnemar(difference, flipping, n, alpha) >= 0.8 - 1e-6


@pytest.mark.parametrize(("deviation", "points"), [(0.10, 0.98), (0.15, 1.47)])
def test_detectable_mean_of_mc2(deviation: float, points: float) -> None:
    assert 100 * power.detectable_mean(deviation, 817) == pytest.approx(points, abs=6e-3)


def test_power_at_the_detectable_mean_is_80_percent() -> None:
    difference = power.detectable_mean(1.0, 30)
    drawn = np.random.default_rng(1).normal(difference, 1, size=(4000, 30))
    found = np.mean([statistics.sign_flip_p(row) < 0.05 for row in drawn])
    assert 0.78 <= found <= 0.82
