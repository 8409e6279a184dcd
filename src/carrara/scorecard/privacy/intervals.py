"""Intervals of 95 % that hold for few items and at the ends of a scale; plain functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

Interval = tuple[float, float]


def proportion(count: int, n: int) -> Interval:
    """The exact interval of a share (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci(method="exact")
    return float(found.low), float(found.high)


def mean_of_exponentials(values: Sequence[float]) -> Interval:
    """The exact interval of a mean of exponential values: twice their sum over the mean is chi-square.

    The exposure of a secret that the model has not seen is exponential, since its rank may be any. Of secrets that it
    has seen, which lie closer together, the interval is rather too wide.
    """
    from scipy.stats import chi2

    n, twice = len(values), 2 * sum(values)
    return twice / float(chi2.ppf(0.975, 2 * n)), twice / float(chi2.ppf(0.025, 2 * n))


def area_under_curve(higher: Sequence[float], lower: Sequence[float]) -> tuple[float, Interval]:
    """How likely a value of the first lies above one of the second, ties for half, and its interval.

    The score interval of Newcombe 2006 (Statistics in Medicine 25:559-573, method 5) on the variance of Hanley and
    McNeil 1982, because it keeps a width where all pairs lie one way.
    """
    import numpy as np
    from scipy.optimize import root_scalar

    a, b = np.asarray(higher)[:, None], np.asarray(lower)[None, :]
    area = float((a > b).mean() + (a == b).mean() / 2)
    each, spread = (len(higher) + len(lower)) / 2 - 1, len(higher) * len(lower)

    def excess(true: float, sign: float) -> float:
        variance = true * (1 - true) * (1 + each * (1 - true) / (2 - true) + each * true / (1 + true)) / spread
        return area - true - sign * 1.959964 * math.sqrt(variance)

    def crossing(sign: float, bracket: Interval) -> float:
        return float(root_scalar(excess, args=(sign,), bracket=bracket, method="brentq").root)

    low = crossing(1.0, (0.0, min(area, 1 - 1e-9))) if area else 0.0
    high = crossing(-1.0, (max(area, 1e-9), 1.0)) if area < 1 else 1.0
    return area, (low, high)
