"""The forecast covers what comes, in simulation: laws that are known, noise of trainings and of held-out rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from carrara.scorecard.accuracy.forecast import Array, fit_curve

ROWS = np.array([100.0, 100, 300, 300, 1000])
HELD_OUT = 100
LAWS: dict[str, Callable[[Array], Array]] = {
    "steep power law": lambda n: 0.5 + (n / 100) ** -1.2,
    "power law": lambda n: 0.5 + (n / 100) ** -0.7,
    "slow power law": lambda n: 1 + 3 * (n / 100) ** -0.3,
    "no floor in sight": lambda n: 2 - 0.1 * np.log(n / 100),
    "flat": lambda n: 1.5 + 0 * n,
    "saturated": lambda n: 0.4 + 0.6 * (n / 100) ** -2,
    "rising": lambda n: 1 + 0.2 * (1 - (n / 100) ** -0.4),
    "exponential": lambda n: 0.5 + np.exp(-n / 300),
    "late exponential": lambda n: 0.5 + np.exp(-n / 1000),
    "one step": lambda n: 0.5 + 1 / (1 + (n / 300) ** 3),
}


def _simulated(law: Callable[[Array], Array], noise: float, random: np.random.Generator) -> Array:
    """Losses `(trainings, held-out rows)`: what rows have in common, what each size makes of each, chance of a run."""
    common, own = random.gamma(2, 0.3, HELD_OUT) - 0.6, random.normal(0, 0.15, (3, HELD_OUT))[[0, 0, 1, 1, 2]]
    runs = noise * (ROWS / 1000) ** -0.25 * random.standard_normal(5)
    each = random.normal(0, 0.05, (5, HELD_OUT))
    return law(ROWS)[:, None] + runs[:, None] + common + own + each


@pytest.mark.parametrize("noise", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
def test_ninety_percent_intervals_cover_at_least_eighty(law: Callable[[Array], Array], noise: float) -> None:
    random, times = np.random.default_rng(7), 25
    at, gain = 0, 0
    for _ in range(times):
        seen = _simulated(law, noise, random)
        curve = fit_curve(ROWS.tolist(), seen, np.ones_like(seen), (0, np.inf), seed=0)
        truth = float(law(np.array(3000.0))) + noise * 3**-0.25 * random.standard_normal()
        (low, high), (least, most) = curve.at(3000, 0.9)[1], curve.gain(1000, 3000, 0.9)[1]
        at += low <= truth <= high
        gain += least <= truth - float(law(np.array(1000.0))) <= most
    assert at >= 0.8 * times
    assert gain >= 0.8 * times


def _certain(values: Array) -> Array:
    """Held-out rows that all say the same."""
    return np.repeat(values[:, None], 10, axis=1)


def test_a_law_without_noise_is_foretold_closely() -> None:
    law = LAWS["power law"]
    seen = _certain(law(ROWS))
    value, (low, high) = fit_curve(ROWS.tolist(), seen, np.ones_like(seen), (0, np.inf), seed=0).at(3000)
    truth = float(law(np.array(3000.0)))
    assert value == pytest.approx(truth, abs=0.02)
    assert low < truth < high
    assert high == pytest.approx(float(law(np.array(1000.0))), abs=0.04)  # it may end there


def test_a_power_law_is_likely_to_go_on_and_a_jump_is_not() -> None:
    """Four chances in five that 3,000 rows are better than 1,000, after a power law; fewer after a single jump."""
    gains: list[float] = []
    for losses in (LAWS["power law"](ROWS), np.array([1.5, 1.5, 1.49, 1.49, 0.5])):
        seen = _certain(losses)
        curve = fit_curve(ROWS.tolist(), seen, np.ones_like(seen), (0, np.inf), seed=0)
        gains.append(curve.gain(1000, 3000, 0.6)[1][1])
    assert gains[0] < -0.02
    assert gains[1] == pytest.approx(0.0, abs=0.02)


def test_more_noise_gives_a_wider_interval() -> None:
    random = np.random.default_rng(0)
    widths: list[float] = []
    for noise in (0.001, 0.1):
        seen = _certain(LAWS["power law"](ROWS)) + noise * random.standard_normal((5, 1))
        low, high = fit_curve(ROWS.tolist(), seen, np.ones_like(seen), (0, np.inf), seed=0).at(3000)[1]
        widths.append(high - low)
    assert widths[1] > 3 * widths[0]


def test_a_share_stays_a_share() -> None:
    seen = _certain(np.array([0.5, 0.52, 0.7, 0.72, 0.98]))
    value, (low, high) = fit_curve(ROWS.tolist(), seen, np.ones_like(seen), (0, 1), seed=0).at(100_000)
    assert 0 <= low <= value <= high <= 1


def test_a_curve_that_never_changed_is_no_error() -> None:
    seen = _certain(np.full(5, 0.25))
    value, (low, high) = fit_curve(ROWS.tolist(), seen, np.ones_like(seen), (0, np.inf), seed=0).at(3000)
    assert value == pytest.approx(0.25, abs=1e-6)
    assert high - low < 1e-6


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_that_never_left_their_end_are_not_certain(share: float) -> None:
    """Of 20 held-out rows none right, or all, at each size: 60 more may well differ."""
    tops = np.full((3, 20), share)
    _, (low, high) = fit_curve([100, 300, 1000], tops, np.ones_like(tops), (0, 1), seed=0).at(3000)
    assert 0.01 < high - low < 0.5
    assert share in (low, high) or min(abs(share - low), abs(share - high)) < 0.02


def test_a_forecast_is_the_same_each_time() -> None:
    seen = _certain(LAWS["power law"](ROWS))
    first, second = (fit_curve(ROWS.tolist(), seen, np.ones_like(seen), (0, np.inf), seed=3).at(3000) for _ in range(2))
    assert first == second
