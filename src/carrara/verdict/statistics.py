"""Tests and intervals for two models that answered the same items; plain functions without state."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

DRAWS = 10_000
_SEED = 0
_BLOCK = 4_000_000  # random numbers held at a time: about 64 MB
_Z = float(stats.norm.ppf(0.975))

Array = NDArray[np.float64]


def mcnemar_exact(won: int, lost: int) -> float:
    """Two-sided p that items flip either way alike: binomial(min(won, lost); won + lost, 1/2), doubled.

    Items on which both models agree say nothing about the difference and do not enter (McNemar 1947).
    """
    return min(1.0, 2.0 * float(stats.binom.cdf(min(won, lost), won + lost, 0.5)))


def paired_proportion_interval(won: int, lost: int, n: int) -> tuple[float, float]:
    """95 % score interval of (won - lost) / n, the paired difference of two proportions, as fractions.

    Tango 1998, Statistics in Medicine 17:891-908. Chosen over Newcombe's because it inverts the score test
    whose value at 0 is McNemar's, so that interval and test seldom disagree, and because it keeps a width
    when no item flipped.
    """
    difference = (won - lost) / n
    if won == n:
        return _crossing(won, lost, n, _Z, -1.0, 1.0), 1.0
    if lost == n:
        return -1.0, _crossing(won, lost, n, -_Z, -1.0, 1.0)
    return _crossing(won, lost, n, _Z, -1.0, difference), _crossing(won, lost, n, -_Z, difference, 1.0)


def _crossing(won: int, lost: int, n: int, target: float, low: float, high: float) -> float:
    """The difference between `low` and `high` at which Tango's statistic, falling throughout, equals `target`."""

    def excess(delta: float) -> float:
        return _tango(won, lost, n, delta) - target

    edge = 1e-12  # at -1 and 1 the variance is 0
    bracket = (max(low, -1 + edge), min(high, 1 - edge))
    return float(optimize.root_scalar(excess, bracket=bracket, method="brentq", xtol=1e-10).root)


def _tango(won: int, lost: int, n: int, delta: float) -> float:
    """Tango's score statistic for a true difference `delta`; q is the likeliest share of lost items under it."""
    b = -(won + lost) + (2 * n - won + lost) * delta
    c = -lost * delta * (1 - delta)
    q = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * max(2 * q + delta * (1 - delta), 1e-300)
    return (won - lost - n * delta) / math.sqrt(variance)


def bootstrap_interval(differences: ArrayLike, weights: ArrayLike) -> tuple[float, float]:
    """95 % interval of sum(differences) / sum(weights) by resampling items in pairs, 10,000 draws, fixed seed; n >= 2.

    Bootstrap-t (Efron and Tibshirani 1993, chapter 12): plain percentiles miss skewed differences on one side, the
    side on which forgetting hides. At each end the wider of it and Student's t counts, for the smallest samples.
    """
    d, w = np.asarray(differences, dtype=float), np.asarray(weights, dtype=float)
    n, ratio = len(d), d.sum() / w.sum()
    e = d - ratio * w
    error = math.sqrt(float(e @ e)) / float(w.sum())
    columns = np.column_stack([e, w, e * e, e * w, w * w])
    off, weight, ee, ew, ww = np.concatenate([counts @ columns for counts in _resamples(n)]).T
    shift = off / weight
    squares = ee - 2 * shift * ew + shift**2 * ww
    telling = squares > 1e-12 * float(e @ e)  # a draw of one item again and again has no spread to compare with
    t = shift[telling] * weight[telling] / np.sqrt(squares[telling])
    student = float(stats.t.ppf(0.975, n - 1)) * math.sqrt(n / (n - 1))
    low, high = np.quantile(t, [0.025, 0.975]) if len(t) else (0.0, 0.0)
    return float(ratio - max(high, student) * error), float(ratio - min(low, -student) * error)


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided permutation p that the sum of paired differences is 0, 10,000 random sign patterns.

    Chosen over a bootstrap p because it is exact where it matters: if both models are alike, base and tuned may
    be swapped on any item, at any n and for any shape of the differences. The observed pattern counts as one draw,
    so that p is never below 1 / 10,001 (Phipson and Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39). The seed comes
    from the sizes of the differences: patterns that never change would be a little wrong in the same way for ever.
    """
    d = np.asarray(differences, dtype=float)
    total = d.sum()
    threshold = abs(total) - 1e-12 * np.abs(d).sum()  # equal sums may differ in rounding
    extreme = np.abs(2 * _sums_of_random_subsets(d) - total) >= threshold
    return (1 + int(np.count_nonzero(extreme))) / (1 + DRAWS)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for testing them all, in the order given (Holm 1979, Scand. J. Statist. 6:65-70)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def ratio_deviation(differences: ArrayLike, weights: ArrayLike) -> float:
    """The standard deviation of one item's part in sum(differences) / sum(weights), by linearisation; n >= 2."""
    d, w = np.asarray(differences, dtype=float), np.asarray(weights, dtype=float)
    residuals = (d - d.sum() / w.sum() * w) / w.mean()
    return float(np.sqrt(np.sum(residuals**2) / (len(d) - 1)))


def _resamples(n: int) -> Iterator[Array]:
    """Blocks of rows that say how often each of n items was drawn; DRAWS rows in all."""
    generator = np.random.default_rng(_SEED)
    for rows in _blocks(n):
        drawn = generator.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def _sums_of_random_subsets(values: Array) -> Array:
    """DRAWS sums of the values, each value in or out by chance: a random byte picks among the sums of 8 of them."""
    generator = np.random.default_rng(zlib.crc32(np.abs(values).tobytes()))
    padded = np.concatenate([values, np.zeros(-len(values) % 8)]).reshape(-1, 8)
    in_or_out = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    drawn = np.zeros(DRAWS)
    for sums in padded @ in_or_out.T:
        drawn += sums[generator.integers(0, 256, DRAWS, dtype=np.uint8)]
    return drawn


def _blocks(n: int) -> Iterator[int]:
    step = max(1, _BLOCK // n)
    for start in range(0, DRAWS, step):
        yield min(step, DRAWS - start)
