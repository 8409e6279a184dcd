"""Correlations as means over items: what each item adds, so that two models can be compared item by item.

An item's part is the correlation plus the item's influence on it (Hampel 1974, J. Amer. Statist. Assoc. 69:383-393).
The mean of the parts is the correlation itself, and their standard deviation over the root of n its standard error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def pearson_parts(x: ArrayLike, y: ArrayLike) -> Array:
    """Each item's part in Pearson's r, `(n,)`; neither side may be constant."""
    a, b = _standardised(x), _standardised(y)
    r = np.mean(a * b)
    return r + a * b - r * (a**2 + b**2) / 2


def spearman_parts(x: ArrayLike, y: ArrayLike) -> Array:
    """Each item's part in Spearman's rho with average ranks, `(n,)`; neither side may be constant.

    An item moves the ranks of all others too, which Pearson's formula, put on the ranks, would leave out.
    """
    a, b = _ranks(x), _ranks(y)
    joint, own_a, own_b = np.mean(a * b), np.mean(a * a), np.mean(b * b)
    rho = joint / np.sqrt(own_a * own_b)
    moved = a * b + _sum_above(a, b) + _sum_above(b, a) - 3 * joint
    moved_a = a * a + 2 * _sum_above(a, a) - 3 * own_a
    moved_b = b * b + 2 * _sum_above(b, b) - 3 * own_b
    return rho + moved / np.sqrt(own_a * own_b) - rho / 2 * (moved_a / own_a + moved_b / own_b)


def is_constant(x: ArrayLike) -> bool:
    """Whether no correlation is defined, since all values are the same."""
    return bool(np.ptp(np.asarray(x, dtype=float)) == 0)


def fisher_interval(r: float, stderr: float) -> tuple[float, float]:
    """95 % interval of a correlation with this standard error, even on Fisher's z and inside -1 to 1."""
    if abs(r) >= 1:
        return r, r
    width = 1.959964 * stderr / (1 - r * r)  # the standard error of z, by linearisation
    return float(np.tanh(np.arctanh(r) - width)), float(np.tanh(np.arctanh(r) + width))


def _standardised(x: ArrayLike) -> Array:
    values = np.asarray(x, dtype=float)
    return (values - values.mean()) / values.std()


def _ranks(x: ArrayLike) -> Array:
    """Average ranks as shares of n, around 0."""
    _, group, counts = np.unique(np.asarray(x, dtype=float), return_inverse=True, return_counts=True)
    highest = np.cumsum(counts)
    ranks = (highest - (counts - 1) / 2)[group] / len(group)
    return ranks - ranks.mean()


def _sum_above(x: Array, values: Array) -> Array:
    """For each item the sum of `values` over items with a larger x, and half of those with the same, by n."""
    _, group = np.unique(x, return_inverse=True)
    sums = np.bincount(group, weights=values)
    above = sums.sum() - np.cumsum(sums) + sums / 2
    return above[group] / len(x)
