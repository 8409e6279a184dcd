"""What the rest of a benchmark would cost and show, told from the items scored so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from carrara.evaluate.scores import Scores
from carrara.verdict import power
from carrara.verdict.measures import POINTS
from carrara.wording import duration

if TYPE_CHECKING:
    from carrara.verdict.compare import TaskVerdict


def outlooks(
    rows: Sequence[TaskVerdict], base: Scores, tuned: Scores, alpha: float, most_lost: power.MostLost
) -> list[str]:
    """A sentence for each task of which only some items were asked, by its primary row, which is tested at `alpha`.

    Time is taken to grow with the items, as if the others were like these, and what can be found to shrink as exact
    McNemar, or Student's test, has it.
    """
    found = []
    for row in (row for row in rows if row.primary):
        whole = base.receipt.get("tasks", {}).get(row.task, {}).get("of", row.n)
        if whole > row.n and math.isfinite(row.detectable):
            seconds = sum(record.seconds for scores in (base, tuned) for record in scores.of(row.task))
            more = duration(seconds / row.n * (whole - row.n))
            then = _shown(row, _detectable(row, whole, alpha, most_lost))
            now = _shown(row, row.detectable)
            found.append(
                f"{row.task}: these {row.n:,} of {whole:,} items show differences from {now} on; all of them would "
                f"take about {more} more for both models and show them from {then} on."
            )
    return found


def _detectable(row: TaskVerdict, whole: int, alpha: float, most_lost: power.MostLost) -> float:
    if row.is_flips:
        return min(1.0, power.detectable_share((row.won + row.lost) / row.n, whole, alpha, most_lost))
    return row.detectable * math.sqrt(row.n / whole)


def _shown(row: TaskVerdict, difference: float) -> str:
    return f"{100 * difference:.1f} points" if row.unit == POINTS else f"{difference:.3f} {row.unit}"
