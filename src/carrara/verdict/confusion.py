"""Which label was taken for which, in tasks that offer the same labels with every item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.evaluate.scores import Record
from carrara.verdict.items import taken


@dataclass(frozen=True)
class Confusion:
    """`counts[i][j]` is how many items of label i were taken for label j."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def shares(self) -> tuple[tuple[float, ...], ...]:
        """The counts as shares of their row, which is the label's items; a row without items is all 0."""
        return tuple(tuple(count / max(sum(row), 1) for count in row) for row in self.counts)


def confusion(metric: str, records: Sequence[Record]) -> Confusion | None:
    """The confusion matrix by a metric's choices; None where items have choices of their own or none is taken."""
    labels = tuple(records[0].choices) if records else ()
    if len(labels) < 2 or any(tuple(record.choices) != labels for record in records):
        return None
    counts = [[0] * len(labels) for _ in labels]
    for record in records:
        choice = taken(metric, record)
        if choice is None or record.gold is None:
            return None
        counts[record.gold][choice] += 1
    return Confusion(labels, tuple(tuple(row) for row in counts))
