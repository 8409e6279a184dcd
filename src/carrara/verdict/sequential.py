"""Stopping early without more false verdicts: an e-value on items that flip, valid whenever one looks.

If the models are alike, a flip is a win or a loss like the toss of a coin. The e-value is the likelihood of the flips
if the share of wins is drawn from Beta(1/2, 1/2), over their likelihood under the coin. Its mean is 1 at any time, so
that by Ville's inequality it ever reaches 1 / alpha with probability alpha at most (Ville 1939; Robbins 1970, Ann.
Math. Statist. 41:1397; Ramdas et al. 2023, Statist. Sci. 38:576). Flips must be independent, which those of one
cluster are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from carrara.verdict.statistics import Array

_MOST = 700.0  # about the logarithm of the largest float
_LEAST_SHARE = 1e-300


@dataclass(frozen=True)
class Look:
    """What is known after `items` items. `p` is valid at any stopping time; the verdict, once given, stays."""

    items: int
    won: int
    lost: int
    e_value: float
    p: float
    verdict: Literal["better", "worse", "can't tell"]

    @property
    def may_stop(self) -> bool:
        return self.verdict != "can't tell"


def log_e_value(won: ArrayLike, lost: ArrayLike) -> Array:
    """The logarithm of B(won + 1/2, lost + 1/2) / B(1/2, 1/2) * 2^(won + lost), element by element."""
    wins, losses = np.asarray(won, dtype=float), np.asarray(lost, dtype=float)
    return _log_mixed(wins, losses) + (wins + losses) * math.log(2)


def watch(outcomes: Iterable[int], alpha: float = 0.05) -> Iterator[Look]:
    """After each item, what may be said: outcomes are 1 (flipped to right), -1 (to wrong) and 0 (both alike).

    At most a share `alpha` of comparisons of like models ever gets a verdict, however often one looks.
    """
    won = lost = 0
    largest = 1.0
    verdict: Literal["better", "worse", "can't tell"] = "can't tell"
    for items, outcome in enumerate(outcomes, start=1):
        won, lost = won + (outcome > 0), lost + (outcome < 0)
        e_value = math.exp(min(float(log_e_value(won, lost)), _MOST))
        largest = max(largest, e_value)
        if verdict == "can't tell" and e_value >= 1 / alpha:
            verdict = "better" if won > lost else "worse"
        yield Look(items, won, lost, e_value, 1 / largest, verdict)


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
