"""Golden values from the papers and from exact enumeration, and coverage and error rates by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from carrara.verdict import statistics


@pytest.mark.parametrize(("won", "lost", "p"), [(1, 0, 1.0), (3, 0, 0.25), (8, 2, 0.109), (6, 0, 0.031), (0, 0, 1.0)])
def test_exact_mcnemar(won: int, lost: int, p: float) -> None:
    assert statistics.mcnemar_exact(won, lost) == pytest.approx(p, abs=5e-4)
    assert statistics.mcnemar_exact(lost, won) == statistics.mcnemar_exact(won, lost)


@pytest.mark.parametrize(
    ("discordant", "expected"), [(3, 0.0), (6, 0.031), (10, 0.021), (20, 0.041), (50, 0.033), (120, 0.035)]
)
def test_share_of_false_alarms_by_enumeration(discordant: int, expected: float) -> None:
    """How often p < .05 when items flip either way alike, by summing over every outcome."""
    alarms = [won for won in range(discordant + 1) if statistics.mcnemar_exact(won, discordant - won) < 0.05]
    assert float(np.sum(stats.binom.pmf(alarms, discordant, 0.5))) == pytest.approx(expected, abs=6e-4)


def test_interval_of_a_published_table() -> None:
    """Bentur et al. 2009, airway hyper-responsiveness: 1 and 7 discordant of 21 (Fagerland, Lydersen, Laake 2014)."""
    assert statistics.paired_proportion_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@given(counts=st.lists(st.integers(0, 300), min_size=3, max_size=3).filter(lambda counts: sum(counts) > 0))
@settings(max_examples=200, deadline=None)
def test_interval_holds_the_estimate_and_mirrors(counts: list[int]) -> None:
    won, lost, same = counts
    n = won + lost + same
    low, high = statistics.paired_proportion_interval(won, lost, n)
    assert -1 <= low <= (won - lost) / n <= high <= 1
    assert low < high
    assert statistics.paired_proportion_interval(lost, won, n) == pytest.approx((-high, -low), abs=1e-7)


@given(won=st.integers(0, 60), lost=st.integers(0, 60), same=st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_interval_leaves_out_zero_exactly_when_the_score_test_rejects(won: int, lost: int, same: int) -> None:
    low, high = statistics.paired_proportion_interval(won, lost, won + lost + same)
    chi_square = (won - lost) ** 2 / max(won + lost, 1)
    assert (low > 0 or high < 0) == (chi_square > stats.chi2.ppf(0.95, 1))


@pytest.mark.parametrize(
    ("n", "won", "lost"), [(50, 0.1, 0.05), (200, 0.08, 0.08), (200, 0.02, 0.05), (817, 0.06, 0.03)]
)
def test_interval_of_proportions_covers(n: int, won: float, lost: float) -> None:
    draws = np.random.default_rng(1).multinomial(n, [won, lost, 1 - won - lost], size=3000)
    tables, times = np.unique(draws, axis=0, return_counts=True)
    intervals = np.array([statistics.paired_proportion_interval(int(b), int(c), n) for b, c, _ in tables])
    covered = (intervals[:, 0] <= won - lost) & (won - lost <= intervals[:, 1])
    assert 0.94 <= np.sum(times[covered]) / 3000 <= 0.975


@pytest.mark.parametrize(
    ("n", "shape"), [(5, "normal"), (12, "normal"), (60, "normal"), (12, "skewed"), (100, "skewed")]
)
def test_bootstrap_interval_covers(n: int, shape: str) -> None:
    generator = np.random.default_rng(2)
    drawn = generator.normal(size=(250, n)) if shape == "normal" else generator.exponential(size=(250, n)) - 1
    intervals = np.array([statistics.bootstrap_interval(row, np.ones(n)) for row in drawn])
    covered = np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))
    assert covered >= (0.92 if shape == "normal" or n >= 60 else 0.90)  # 0.92 is 0.95 less 2 standard errors


def test_bootstrap_interval_of_a_ratio_covers() -> None:
    """Long texts have larger differences: the ratio of sums, not the mean of ratios, is what is covered."""
    generator = np.random.default_rng(3)
    weights = generator.integers(5, 200, size=(250, 80)).astype(float)
    differences = weights * (0.02 + generator.normal(0, 0.1, size=weights.shape))
    intervals = np.array([statistics.bootstrap_interval(d, w) for d, w in zip(differences, weights, strict=True)])
    assert 0.92 <= np.mean((intervals[:, 0] <= 0.02) & (intervals[:, 1] >= 0.02)) <= 0.99


def test_bootstrap_interval_of_few_or_equal_differences_is_finite() -> None:
    """Where nothing varies there is nothing to widen; with 2 items Student's t alone is left."""
    assert statistics.bootstrap_interval(np.zeros(20), np.ones(20)) == (0.0, 0.0)
    assert statistics.bootstrap_interval([0.0, 1.0], [1.0, 1.0]) == pytest.approx((0.5 - 6.353, 0.5 + 6.353), abs=1e-3)
    few = np.zeros(100)
    few[:2] = 1.0
    low, high = statistics.bootstrap_interval(few, np.ones(100))
    assert low < 0.02 < high < 1


def test_bootstrap_interval_agrees_with_t_at_large_n() -> None:
    sample = np.random.default_rng(4).normal(0.1, 1, 2000)
    expected = stats.t.interval(0.95, 1999, sample.mean(), stats.sem(sample))
    assert statistics.bootstrap_interval(sample, np.ones(2000)) == pytest.approx(expected, abs=3e-3)


@pytest.mark.parametrize("n", [4, 12, 100])
@pytest.mark.parametrize("shape", ["normal", "heavy", "mostly equal"])
def test_sign_flip_is_calibrated(n: int, shape: str) -> None:
    """Two runs of one model: at most 5 % p < .05 but for chance, at any size and shape."""
    generator = np.random.default_rng(5)
    drawn = generator.standard_t(2, size=(1500, n)) if shape == "heavy" else generator.normal(size=(1500, n))
    if shape == "mostly equal":
        drawn *= generator.random((1500, n)) < 0.2
    alarms = np.mean([statistics.sign_flip_p(row) < 0.05 for row in drawn[: 1500 if n < 100 else 300]])
    assert alarms <= (0.062 if n < 100 else 0.075)  # 0.05 and 2 standard errors


@pytest.mark.parametrize("n", [1, 3, 7, 8, 9, 12])
def test_sign_flip_agrees_with_enumeration(n: int) -> None:
    d = np.array([0.3, 1.1, -0.2, 0.9, 0.4, 0.8, -0.1, 0.5, 0.7, -0.6, 0.2, 1.3])[:n]
    signs = np.array(np.meshgrid(*[[-1, 1]] * n)).reshape(n, -1).T
    exact = np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-12)
    assert statistics.sign_flip_p(d) == pytest.approx(exact, abs=0.015)  # 3 standard errors of 10,000 draws


def test_sign_flip_knows_no_zero_and_no_direction() -> None:
    d = np.random.default_rng(6).normal(3, 1, 100)
    assert statistics.sign_flip_p(d) == pytest.approx(1 / 10_001)
    assert statistics.sign_flip_p(-d) == statistics.sign_flip_p(d)
    assert statistics.sign_flip_p(np.zeros(50)) == 1.0


def test_same_input_gives_the_same_numbers() -> None:
    d = np.random.default_rng(7).normal(size=300)
    assert statistics.bootstrap_interval(d, np.ones(300)) == statistics.bootstrap_interval(d, np.ones(300))
    assert statistics.sign_flip_p(d) == statistics.sign_flip_p(d)


def test_holm() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_never_lowers(p_values: list[float]) -> None:
    adjusted = statistics.holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert all(a <= b for a, b in zip(np.array(adjusted)[order], np.array(adjusted)[order][1:], strict=False))


def test_ratio_deviation_is_the_deviation_when_weights_are_equal() -> None:
    d = np.random.default_rng(8).normal(size=50)
    assert statistics.ratio_deviation(d, np.ones(50)) == pytest.approx(np.std(d, ddof=1))
    assert statistics.ratio_deviation(d, np.full(50, 4.0)) == pytest.approx(np.std(d, ddof=1) / 4)


@pytest.mark.parametrize("flips", [6, 7, 10, 25, 60, 200])
def test_exact_mcnemar_rejects_only_where_the_interval_leaves_out_zero(flips: int) -> None:
    for lost in range(flips // 2):
        if statistics.mcnemar_exact(flips - lost, lost) < 0.05:
            assert statistics.paired_proportion_interval(flips - lost, lost, 400)[0] > 0
