"""Shares and means of answers that come in clusters, with intervals: answers to one topic resemble each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Tally:
    """What was counted in each cluster, and out of how many answers; the same clusters for two models compared."""

    sums: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def mean(self) -> float:
        return math.fsum(self.sums) / sum(self.counts)


def tally(clusters: Sequence[Sequence[float]]) -> Tally:
    """The tally of the values of each cluster."""
    return Tally(tuple(map(math.fsum, clusters)), tuple(map(len, clusters)))


def share_interval(counted: Tally) -> Range:
    """95 % interval of a share: Clopper and Pearson's at the sample size that the clusters leave effective.

    Korn and Graubard 1998, Survey Methodology 24:193-201. Unlike a bootstrap it keeps a width where all answers are
    alike; there each cluster counts as one answer.
    """
    from scipy import stats

    share, clusters, answers = counted.mean, len(counted.counts), sum(counted.counts)
    size = float(clusters)
    if 1e-12 < share < 1 - 1e-12:  # else all are alike
        wider = float(stats.t.ppf(0.975, answers - 1) / stats.t.ppf(0.975, clusters - 1))
        alone = share * (1 - share) / (answers - 1)  # the variance if each answer were a cluster
        size = answers * min(1.0, alone * wider**2 / max(_variance(counted), alone * 1e-9))
    hits = share * size
    low = float(stats.beta.ppf(0.025, hits, size - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, size - hits)) if hits < size else 1.0
    return low, high


def mean_interval(counted: Tally) -> Range:
    """95 % interval of a mean, clusters drawn anew."""
    from carrara.verdict.statistics import bootstrap_interval

    return bootstrap_interval(counted.sums, counted.counts)


def change_interval(after: Tally, before: Tally, are_shares: bool) -> Range:
    """95 % interval of the difference of two means over the same clusters, drawn in pairs.

    Where that of two shares is the same in each cluster, by the intervals of both (Newcombe 1998, Statistics in
    Medicine 17:873-890), which keep a width.
    """
    from carrara.verdict.statistics import bootstrap_interval

    apart = [
        new / count - old / others
        for new, count, old, others in zip(after.sums, after.counts, before.sums, before.counts, strict=True)
    ]
    if not are_shares or max(apart) - min(apart) > 1e-12:
        return bootstrap_interval(apart, [1.0] * len(apart))
    (low, high), (least, most) = share_interval(after), share_interval(before)
    change = after.mean - before.mean
    below, above = math.hypot(after.mean - low, most - before.mean), math.hypot(high - after.mean, before.mean - least)
    return max(-1.0, change - below), min(1.0, change + above)


def _variance(counted: Tally) -> float:
    """Of the mean over clusters, by linearisation."""
    mean, clusters = counted.mean, len(counted.counts)
    parts = [total - mean * count for total, count in zip(counted.sums, counted.counts, strict=True)]
    return clusters / (clusters - 1) * math.fsum(part**2 for part in parts) / sum(counted.counts) ** 2
