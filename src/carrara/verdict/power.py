"""Which true difference a comparison finds in four of five repetitions, and how many items a difference needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from carrara.verdict.statistics import Array

POWER = 0.8
_REACH = 8.0  # standard deviations; what lies beyond is less than 1e-14


@dataclass(frozen=True)
class _Flips:
    """The numbers of items that may flip, how likely each is, and of each the most that may be lost for p < alpha."""

    counts: NDArray[np.int64]
    chances: Array
    most_lost: Array  # -1 where no outcome is significant

    def power(self, won: float) -> float:
        """How often exact McNemar finds the difference, where a flip is a win with probability `won` above 1/2."""
        return float(self.chances @ stats.binom.cdf(self.most_lost, self.counts, 1 - won))


MostLost = Callable[[NDArray[np.int64], float], Array]  # for each number of flips, the most lost that a test finds


def most_lost_by_mcnemar(flips: NDArray[np.int64], alpha: float) -> Array:
    """For each number of flips the most that may be lost for p < alpha; -1 where no outcome is significant."""
    return stats.binom.ppf(alpha / 2, flips, 0.5) - 1


def _flips(flipping: float, n: int, alpha: float, most_lost: MostLost) -> _Flips:
    middle, reach = n * flipping, _REACH * math.sqrt(n * flipping * (1 - flipping)) + _REACH
    counts = np.arange(max(0, math.floor(middle - reach)), min(n, math.ceil(middle + reach)) + 1)
    chances = stats.binom.pmf(counts, n, flipping)
    return _Flips(counts, chances, most_lost(counts, alpha))


def power_of_mcnemar(difference: float, flipping: float, n: int, alpha: float = 0.05) -> float:
    """How often exact McNemar at `alpha` finds a true difference of two paired shares in its direction.

    By summing over all outcomes of n items of which a share `flipping` flips; that share is at least the difference.
    """
    flipping = max(flipping, abs(difference))
    won = 0.5 + abs(difference) / flipping / 2 if flipping else 0.5
    return _flips(flipping, n, alpha, most_lost_by_mcnemar).power(won)


def detectable_share(flipping: float, n: int, alpha: float = 0.05, most_lost: MostLost = most_lost_by_mcnemar) -> float:
    """The smallest true difference of two paired shares that a test at `alpha` finds with 80 % power.

    The test is exact McNemar unless `most_lost` is another's. Where so few flip that not even flips in one direction
    are found, it is the smallest share of items that is found if all of it flips in one direction; infinite where n is
    too small for any.
    """
    flips = _flips(flipping, n, alpha, most_lost)
    if flips.power(1.0) < POWER:
        return _all_one_way(n, alpha, most_lost)
    return flipping * (2 * _share_with_power(flips.power, 0.5) - 1)


def _all_one_way(n: int, alpha: float, most_lost: MostLost) -> float:
    found = np.flatnonzero(most_lost(np.arange(n + 1), alpha) >= 0)
    if not len(found):
        return math.inf
    fewest = int(found[0])
    return _share_with_power(lambda share: float(stats.binom.sf(fewest - 1, n, share)), 0.0)


def _share_with_power(power: Callable[[float], float], low: float) -> float:
    """The share between `low` and 1 at which a power that grows with it is 80 %."""
    found = optimize.root_scalar(lambda share: power(share) - POWER, bracket=(low, 1.0), method="brentq", xtol=1e-10)
    return float(found.root)


def detectable_mean(standard_deviation: float, n: int, alpha: float = 0.05) -> float:
    """The true mean difference found with 80 % power at two-sided `alpha`, in the unit of the deviation; n >= 2."""
    reach = stats.t.ppf(1 - alpha / 2, n - 1) + stats.t.ppf(POWER, n - 1)
    return float(reach) * standard_deviation / math.sqrt(n)
