"""What more rows would bring, foretold from few sizes: a power law whose every number is uncertain.

The law is `level + drop * h(rows)`, where h falls as rows to the power of -b towards a floor that may be anywhere; a b
around 0 is a straight line over the logarithm of rows, one below 0 a curve that still gathers speed. Beyond what was
measured the curve goes on with the slope that it has there and a b near its own; what gathered speed slows down at a b
that nobody knows. Or it ends there: three sizes cannot tell a power law from a curve that saturates faster than any, so
with some chance nothing more comes, and the more so after gathering speed, as a single jump does too. What chance adds
to a single training is part of it, and so is which rows were held out: all sizes are judged on the same, so that these
move the whole curve more than its shape. Everything is weighed by how well it explains what was measured (Bayes, on a
grid over b and the noise; level and drop are normal given these).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[float, float]

_BENDS = np.linspace(-1.0, 3.0, 21)  # b; below -1 each row would bring more than the one before
_OTHER_BEND, _SLOWING = 0.3, 3.0  # by how much b may change beyond what was measured, and does after gathering speed
_ENDS = 0.15  # how likely more rows bring nothing, for a b of 0 or more; three times that for one of -1
_NOISES = np.geomspace(0.003, 1.0, 16)  # of a training on the most rows, in units of what was seen to differ
_CALMING = (0.0, 0.25, 0.5)  # noise falls as rows to the power of minus this
_DRAWS = 4000
_LEVEL, _DROP = 10.0, 3.0  # how far both may lie from what was seen, in the same units


@dataclass(frozen=True)
class Curve:
    """Curves that would explain what was measured, as draws `(draws,)` of each of their numbers."""

    most: float  # rows that were measured
    level: Array  # at the most rows
    drop: Array  # from the fewest rows to there
    slope: Array  # of h over the logarithm of rows, at the most; 0 where it ends there
    later: Array  # b beyond
    noise: Array
    calming: Array
    chance: Array  # normal, for the noise of a training to come
    limits: Interval  # of the measure

    def at(self, rows: float, share: float = 0.95) -> tuple[float, Interval]:
        """What a training on so many rows, the most or more, is measured at: the middle and an interval of `share`."""
        return _told(self._drawn(rows), share)

    def gain(self, rows: float, more: float, share: float = 0.95) -> tuple[float, Interval]:
        """By how much a training on `more` rows is measured above what the curve has at `rows`, the most or more."""
        return _told(self._drawn(more) - np.clip(self._mean(rows), *self.limits), share)

    def _mean(self, rows: float) -> Array:
        steps, later = np.log(rows / self.most), self.later
        with np.errstate(divide="ignore", invalid="ignore"):
            far = np.where(abs(later) < 1e-9, steps, -np.expm1(-later * steps) / later)
        return self.level + self.drop * self.slope * far

    def _drawn(self, rows: float) -> Array:
        noise = self.noise * (rows / self.most) ** -self.calming * self.chance
        return np.clip(self._mean(rows) + noise, *self.limits)


def fit_curve(rows: Sequence[float], tops: Array, bottoms: Array, limits: Interval, seed: int) -> Curve:
    """The curves behind trainings on so many `rows` each, of three sizes at least.

    Each was measured at the sum of its `tops` over that of its `bottoms`, both `(trainings, held-out prompts)`. A share
    has at least the variance that it would have, were one more of two prompts right.
    """
    sizes, seen = np.array(rows, dtype=float), tops.sum(axis=1) / bottoms.sum(axis=1)
    off = (tops - seen[:, None] * bottoms) / bottoms.mean(axis=1, keepdims=True)
    covariance = off @ off.T / (off.shape[1] * max(1, off.shape[1] - 1))  # had other rows been held out
    if limits == (0.0, 1.0):
        prompts = off.shape[1]
        shares = (seen * prompts + 0.5) / (prompts + 1)
        roots = np.sqrt(shares * (1 - shares) / prompts)
        spread = np.sqrt(np.diag(covariance))
        covariance = covariance + np.outer(*[np.sqrt(np.maximum(0, roots**2 - spread**2))] * 2)
    unit = float(np.ptp(seen) + np.sqrt(np.mean(np.diag(covariance)))) or 1e-9
    grid = np.array([(b, noise * unit, calming) for b in _BENDS for noise in _NOISES for calming in _CALMING])
    likely, means, roots = _weighed(sizes, seen, covariance, unit, grid)
    random = np.random.default_rng(seed)
    chosen = random.choice(len(grid), size=_DRAWS, p=likely)
    level, drop = (means[chosen] + np.einsum("nij,nj->ni", roots[chosen], random.standard_normal((_DRAWS, 2)))).T
    bend, noise, calming = grid[chosen].T
    slowing = _SLOWING * np.maximum(0, -bend) * random.standard_exponential(_DRAWS)
    later = bend + _OTHER_BEND * random.standard_normal(_DRAWS) + slowing
    ends = random.random(_DRAWS) < _ENDS * (1 + 2 * np.maximum(0, -bend))
    slope = np.where(ends, 0.0, _slope(bend, sizes.min(), sizes.max()))
    chance = random.standard_normal(_DRAWS)
    return Curve(sizes.max(), level, drop, slope, later, noise, calming, chance, limits)


def _weighed(sizes: Array, seen: Array, covariance: Array, unit: float, grid: Array) -> tuple[Array, Array, Array]:
    """For each place `(places, 3)` of the grid, how likely it is, and mean and root covariance of level and drop there.

    Places are b, noise and calming. Gaussian linear regression, `(places,)`, `(places, 2)` and `(places, 2, 2)`.
    """
    bend, noise, calming = grid.T[:, :, None]
    design = np.stack([np.ones((len(grid), len(sizes))), _shape(bend, sizes)], axis=2)
    own = covariance + (noise * (sizes / sizes.max()) ** -calming)[:, :, None] ** 2 * np.eye(len(sizes))
    prior = np.diag([(_LEVEL * unit) ** 2, (_DROP * unit) ** 2])
    off, turned = seen - seen.mean(), design.transpose(0, 2, 1)
    whole = own + design @ prior @ turned
    gained = prior @ turned @ np.linalg.inv(whole)
    left = prior - gained @ design @ prior
    log = -0.5 * (np.linalg.slogdet(whole)[1] + off @ np.linalg.inv(whole) @ off)
    likely = np.exp(log - log.max())
    roots = np.linalg.cholesky((left + left.transpose(0, 2, 1)) / 2 + 1e-12 * unit**2 * np.eye(2))
    return likely / likely.sum(), gained @ off + [seen.mean(), 0.0], roots.astype(np.float64)


def _shape(bend: Array, sizes: Array) -> Array:
    """h of each size under each b `(places, 1)`: 1 at the fewest rows, 0 at the most."""
    power = np.where(abs(bend) < 1e-9, np.log(sizes), sizes**-bend)
    low, high = power[:, [sizes.argmin()]], power[:, [sizes.argmax()]]
    return (power - high) / (low - high)


def _slope(bend: Array, fewest: float, most: float) -> Array:
    """By how much h changes at the most rows, for each unit of the logarithm of rows."""
    wide = np.log(most / fewest)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(abs(bend) < 1e-9, -1 / wide, -bend / np.expm1(bend * wide))


def _told(drawn: Array, share: float) -> tuple[float, Interval]:
    low, middle, high = np.quantile(drawn, [(1 - share) / 2, 0.5, (1 + share) / 2])
    return float(middle), (float(low), float(high))
