"""Membership inference: whether a row's loss tells that the model was tuned on it.

The loss under the base less the loss under the model, as the base says how easy a row is by itself (Watson et al. 2022,
arXiv 2111.08440; of tuned language models Mireshghallah et al. 2022, arXiv 2203.03929). The area under its curve is how
likely a train row ranks above a held-out one: 0.5 by chance.
"""

from __future__ import annotations

from collections.abc import Callable

from carrara.scorecard.figure import BASE, Figure, unknown
from carrara.scorecard.privacy.intervals import Interval, area_under_curve
from carrara.scorecard.privacy.learned import Learned, Seen

MEASURE = "membership inference AUC"
_FEWEST = 10  # rows of either kind


def membership_figures(learned: Learned, remedy: str) -> list[Figure]:
    """How well train rows can be told from held-out ones: by the model against its base, and by the base alone."""
    members, others = len(learned.members), len(learned.others)
    if min(members, others) < _FEWEST:
        why = f"there are {members} train rows and {others} held-out rows to compare, and it takes {_FEWEST} of each"
        return [unknown(MEASURE, f"{why}; prepare the data with a larger test share.")]
    return [
        _figure(learned, "", "loss under the base less loss under the model", gain, remedy),
        _figure(learned, BASE, "loss under the base, which saw neither", lambda seen: -seen.base.loss, ""),
    ]


def gain(seen: Seen) -> float:
    """By how many nats a token the tuning lowered the loss of a row."""
    return seen.base.loss - seen.model.loss


def _figure(learned: Learned, suffix: str, how: str, score: Callable[[Seen], float], remedy: str) -> Figure:
    members, others = [score(seen) for seen in learned.members], [score(seen) for seen in learned.others]
    area, interval = area_under_curve(members, others)
    return Figure(
        measure=MEASURE + suffix,
        value=area,
        interval=interval,
        kind="measured",
        source=f"{how}; {len(members)} train rows against {len(others)} held-out ones, interval after Newcombe 2006",
        better="lower",
        meaning=_meaning(area, interval, bool(suffix), remedy),
    )


def _meaning(area: float, interval: Interval, is_base: bool, remedy: str) -> str:
    told = f"Asked which of two rows was trained on, the loss points to the right one {area:.0%} of the time"
    low, high = interval
    if low <= 0.5 <= high:
        return f"{told}, which cannot be told from guessing."
    told = f"{told}, which is {'more' if low > 0.5 else 'less'} than guessing"
    if is_base:
        return f"{told}: the two splits differ by themselves, since the base saw neither."
    if low > 0.5:
        return f"{told}: what it was tuned on stands out.{remedy}"
    return f"{told}: held-out rows mostly gained more by the tuning than its own rows, so the two splits may differ."
