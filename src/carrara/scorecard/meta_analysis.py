"""Where each candidate stands in a criterion, from 0 to 1, told from figures that were not all taken alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, pstdev
from typing import TYPE_CHECKING

from carrara.models.interval import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Z = NormalDist().inv_cdf(0.975)
_LOOSE = 10.0  # standard deviation of what nothing is known of beforehand


@dataclass(frozen=True)
class Column:
    """One measure, taken by one protocol: what some candidates reached, by their places; higher is better.

    `noise` is the standard deviation with which each value tells what the candidate can do, in the values' own unit.
    """

    values: Mapping[int, float]
    noise: Mapping[int, float]


def abilities(columns: Sequence[Column], sizes: Sequence[float], spread: float) -> list[Interval]:
    """How good each candidate is, with 95 % intervals, from columns that share a scale.

    Values of different columns are never set beside each other. Each column has a level of its own that is unknown,
    so it tells only by how much those in it differ; two candidates that share no column are compared by way of
    others, which are in a column with both, and the interval grows with every step of such a chain (a network
    meta-analysis: Lu and Ades 2004, Statistics in Medicine 23:3105-3124, with normal errors). Whom no column names is
    known by its size alone: `sizes` are doublings of something that ability may grow with, by a slope that is told
    from the columns too, and candidates of one size differ with the standard deviation `spread`.
    """
    import numpy as np

    count = len(sizes)
    slope, first = count, count + 1  # places of the unknowns behind the candidates' own deviations
    middle = fmean(sizes)
    precision = np.diag([spread**-2] * count + [1.0] + [_LOOSE**-2] * len(columns))
    weighted = np.zeros(first + len(columns))
    for number, column in enumerate(columns):
        for place, value in column.values.items():
            row = np.zeros(first + len(columns))
            row[place], row[slope], row[first + number] = 1.0, sizes[place] - middle, 1.0
            weight = column.noise[place] ** -2
            precision += weight * np.outer(row, row)
            weighted += weight * value * row
    covariance = np.linalg.inv(precision)
    return _intervals(covariance @ weighted, covariance, [size - middle for size in sizes], slope)


def _intervals(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], sizes: Sequence[float], slope: int
) -> list[Interval]:
    """Of each candidate: its own deviation and what its size gives."""
    found = []
    for place, size in enumerate(sizes):
        value = float(mean[place] + size * mean[slope])
        own, shared = covariance[place, place], covariance[slope, slope]
        half = _Z * math.sqrt(own + size**2 * shared + 2 * size * covariance[place, slope])
        found.append(Interval(value, value - half, value + half))
    return found


def scores(found: Sequence[Interval]) -> list[Interval]:
    """Each as the share of the field that it is better than, if the field lies as a normal distribution does.

    The field is all candidates, also those that fell, so that a limit moves nobody's score. Its width is that of what
    is likely and of what is not known together: where little is known, all stand near 0.5, with wide intervals, and
    what is unknown stands at its likeliest and never at 0.
    """
    middle = fmean(each.likely for each in found)
    unsure = fmean(((each.high - each.low) / (2 * _Z)) ** 2 for each in found)
    width = math.sqrt(pstdev([each.likely for each in found]) ** 2 + unsure)
    field = NormalDist(middle, width or 1.0)
    return [Interval(field.cdf(each.likely), field.cdf(each.low), field.cdf(each.high)) for each in found]


def logit(percent: float) -> float:
    """A share of right answers on a scale without ends, on which a step is as hard anywhere."""
    share = min(max(percent / 100, 0.005), 0.995)
    return math.log(share / (1 - share))
