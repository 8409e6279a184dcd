"""A measure over records with its interval, rows that share a prompt counted as one draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from carrara.evaluate.scores import Record
from carrara.verdict.measures import POINTS, Measure, value_of

Array = NDArray[np.float64]
Interval = tuple[float, float]

_DRAWS = 1000
_SEED = 0


def value_and_interval(records: Sequence[Record], measure: Measure) -> tuple[float, Interval | None]:
    """A measure, shares in per cent, and its 95 % interval; None for a single item or cluster.

    Wilson's score interval where items are right or wrong, each by itself, since that keeps a width when all are alike;
    else a bootstrap-t over clusters.
    """
    scale = measure.scale * (100 if measure.unit == POINTS else 1)
    tops, bottoms = parts_of(records, measure)
    value = float(tops.sum() / bottoms.sum())
    if measure.kind == "binary" and len(tops) == len(records):
        low, high = _wilson(round(tops.sum()), len(tops))
    elif (drawn := of_ratio(tops, bottoms)) is not None:
        low, high = drawn
    else:
        return scale * value, None
    least = 0.0 if (tops >= 0).all() else -math.inf  # else a correlation
    most = 1.0 if measure.unit == POINTS else math.inf
    return scale * value, (scale * max(least, low), scale * min(most, high))


def parts_of(records: Sequence[Record], measure: Measure) -> tuple[Array, Array]:
    """The sums whose ratio is the measure, `(clusters,)` each."""
    from carrara.verdict.clusters import groups_of, sums

    groups = groups_of(records)
    tops = np.array([value_of(record, measure.field) for record in records], dtype=float)
    weights = [value_of(record, measure.weight) if measure.weight else 1.0 for record in records]
    return sums(tops, groups), sums(np.array(weights, dtype=float), groups)


def of_ratio(tops: Array, bottoms: Array) -> Interval | None:
    """The 95 % interval of the ratio of two sums; None for a single pair."""
    from carrara.verdict.statistics import bootstrap_interval

    return bootstrap_interval(tops, bottoms) if len(tops) > 1 else None


def resampled(records: Sequence[Record], statistic: Callable[[Sequence[Record]], float]) -> Interval:
    """The 95 % interval of a statistic that is no mean, by drawing clusters anew 1,000 times; percentiles."""
    from carrara.verdict.clusters import groups_of

    groups = groups_of(records)
    numbers = np.arange(len(records)) if groups is None else groups
    members = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    random = np.random.default_rng(_SEED)
    found: list[float] = []
    for _ in range(_DRAWS):
        drawn = random.integers(0, len(members), len(members))
        found.append(statistic([records[place] for number in drawn for place in members[number]]))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _wilson(right: int, count: int) -> Interval:
    from scipy import stats

    found = stats.binomtest(right, count).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
