"""A task's score in each category of its items, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.verdict.compare import TaskVerdict
from carrara.verdict.items import Pair, mean_score

FEW = 10  # items; with fewer a category tells nothing
_UNNAMED = "(no category)"


@dataclass(frozen=True)
class Category:
    """The scores of a category's `n` items in the metric's unit; `difference` is tuned - base."""

    name: str
    n: int
    base: float
    tuned: float

    @property
    def difference(self) -> float:
        return self.tuned - self.base

    @property
    def few(self) -> bool:
        """Whether there are too few items to judge."""
        return self.n < FEW


def categories(row: TaskVerdict, pairs: Sequence[Pair]) -> list[Category]:
    """The categories of a task by its metric, the largest loss first, those with too few items last.

    Empty where items have no categories.
    """
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair[0].category, []).append(pair)
    if not any(groups):
        return []
    found = [_category(row, name or _UNNAMED, group) for name, group in groups.items()]
    sign = 1 if row.higher_is_better else -1
    return sorted(found, key=lambda each: (each.few, sign * each.difference, each.name))


def _category(row: TaskVerdict, name: str, group: Sequence[Pair]) -> Category:
    base = mean_score(row.metric, [before for before, _ in group])
    return Category(name, len(group), base, mean_score(row.metric, [after for _, after in group]))
