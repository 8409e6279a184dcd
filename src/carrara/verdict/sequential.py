"""Stopping early without more false verdicts: an e-value on items that flip, valid whenever one looks.

If the models are alike, a flip is a win or a loss like the toss of a coin. The e-value is the likelihood of the flips
if the share of wins is drawn from Beta(1/2, 1/2), over their likelihood under the coin. Its mean is 1 at any time, so
that by Ville's inequality it ever reaches 1 / alpha with probability alpha at most (Ville 1939; Robbins 1970, Ann.
Math. Statist. 41:1397; Ramdas et al. 2023, Statist. Sci. 38:576). Flips must be independent, which those of one
cluster are not.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from carrara.verdict.statistics import Array

_LEAST_SHARE = 1e-300


def log_e_value(won: ArrayLike, lost: ArrayLike) -> Array:
    """The logarithm of B(won + 1/2, lost + 1/2) / B(1/2, 1/2) * 2^(won + lost), element by element."""
    wins, losses = np.asarray(won, dtype=float), np.asarray(lost, dtype=float)
    return _log_mixed(wins, losses) + (wins + losses) * math.log(2)


def most_lost(flips: NDArray[np.int64], alpha: float) -> Array:
    """For each number of flips the most that may be lost for the e-value to reach 1 / alpha; -1 where it never does."""
    low, high = np.full(len(flips), -1), flips // 2
    while np.any(high > low):
        middle = (low + high + 1) // 2
        reached = log_e_value(flips - middle, middle) >= -math.log(alpha)
        low, high = np.where(reached, middle, low), np.where(reached, high, middle - 1)
    return low.astype(float)


def anytime_p(outcomes: ArrayLike) -> float:
    """One over the largest e-value on the way: a p-value however often one looked and whenever one stops.

    `outcomes` are those of the items in their order: 1 (flipped to right), -1 (to wrong) and 0 (both alike).
    """
    values = np.asarray(outcomes)
    e_values = log_e_value(np.cumsum(values > 0), np.cumsum(values < 0))
    return math.exp(-max(0.0, float(e_values.max(initial=0.0))))


def share_interval(won: int, lost: int, alpha: float = 0.05) -> tuple[float, float]:
    """The shares of wins among flips that the e-value against each does not rule out, valid at any stopping time.

    It leaves out 1/2 exactly when the e-value reaches 1 / alpha.
    """
    return _lowest_share(won, lost, alpha), 1 - _lowest_share(lost, won, alpha)


def _lowest_share(won: int, lost: int, alpha: float) -> float:
    if not won:
        return 0.0
    mixed = float(_log_mixed(won, lost)) + math.log(alpha)

    def excess(share: float) -> float:
        return mixed - float(special.xlogy(won, share) + special.xlog1py(lost, -share))

    bracket = (_LEAST_SHARE, won / (won + lost))
    return float(optimize.root_scalar(excess, bracket=bracket, method="brentq").root)


def _log_mixed(won: ArrayLike, lost: ArrayLike) -> Array:
    """The logarithm of the likelihood of the flips where the share of wins is drawn from Beta(1/2, 1/2)."""
    return special.betaln(np.asarray(won) + 0.5, np.asarray(lost) + 0.5) - math.log(math.pi)
