"""Parts of correlations: their mean is the correlation, their spread its standard error, also of a difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from carrara.evaluate.correlation import fisher_interval, is_constant, pearson_parts, spearman_parts

Parts = Callable[[Any, Any], Any]
VALUES = st.sampled_from([0.0, 0.5, 1.0, 2.5, 4.0]) | st.floats(-5, 5).map(lambda value: round(value, 3))
BOTH = pytest.mark.parametrize("parts", [spearman_parts, pearson_parts])


@given(st.lists(st.tuples(VALUES, VALUES), min_size=3, max_size=60))
def test_the_mean_is_the_correlation_with_ties_and_without(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T
    if is_constant(x) or is_constant(y):
        return
    assert spearman_parts(x, y).mean() == pytest.approx(_rho(x, y), abs=1e-9)
    assert pearson_parts(x, y).mean() == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-6)


def _rho(x: Any, y: Any) -> float:
    found: Any = stats.spearmanr(x, y)
    return float(found.statistic)


def _people_and_models(seed: int, count: int) -> tuple[Any, Any, Any]:
    """Scores with ties, as people give them, and skewed cosines of a good and of a worse model, which go together."""
    generator = np.random.default_rng(seed)
    meant, shared = generator.normal(size=count), generator.normal(size=count)
    gold = np.clip(np.round(2.5 + 1.3 * meant, 0), 0, 5)
    models = [np.tanh(0.8 + meant + noise * (shared + generator.normal(size=count))) for noise in (0.4, 0.9)]
    return gold, models[0], models[1]


def _error(values: Any) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def _bootstrapped(parts: Parts, columns: tuple[Any, ...], draws: int = 1500) -> float:
    """The standard deviation of a correlation, or of the difference of two, over items drawn anew."""
    generator, count = np.random.default_rng(7), len(columns[0])

    def found() -> float:
        drawn = generator.integers(0, count, count)
        gold, *models = (column[drawn] for column in columns)
        values = [parts(gold, model).mean() for model in models]
        return values[0] - values[1] if len(values) > 1 else values[0]

    return float(np.std([found() for _ in range(draws)], ddof=1))


@BOTH
def test_the_standard_error_is_that_of_the_bootstrap(parts: Parts) -> None:
    gold, good, worse = _people_and_models(1, 1000)
    for model in (good, worse):
        assert _error(parts(gold, model)) == pytest.approx(_bootstrapped(parts, (gold, model)), rel=0.05)
    difference = _error(parts(gold, good) - parts(gold, worse))
    assert difference == pytest.approx(_bootstrapped(parts, (gold, good, worse)), rel=0.05)
    assert difference < 0.9 * np.hypot(_error(parts(gold, good)), _error(parts(gold, worse)))  # paired


def test_the_standard_error_is_the_spread_over_new_items() -> None:
    samples = [_people_and_models(seed, 400) for seed in range(800)]
    spread = float(np.std([_rho(gold, good) for gold, good, _ in samples], ddof=1))
    told = float(np.mean([_error(spearman_parts(gold, good)) for gold, good, _ in samples]))
    assert told == pytest.approx(spread, rel=0.05)


def test_the_interval_covers_and_stays_inside() -> None:
    truth = _rho(*_people_and_models(99, 200_000)[:2])
    covered = 0
    for seed in range(400):
        parts = spearman_parts(*_people_and_models(seed, 150)[:2])
        low, high = fisher_interval(float(parts.mean()), _error(parts))
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98
    assert fisher_interval(0.0, 0.1) == pytest.approx((-0.1935, 0.1935), abs=1e-3)
    low, high = fisher_interval(0.99, 0.1)
    assert -1 < low < 0.99 < high < 1
    assert fisher_interval(1.0, 0.0) == (1.0, 1.0)
