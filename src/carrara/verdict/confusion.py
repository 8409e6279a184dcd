"""Which label was taken for which, in tasks that offer the same labels with every item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.evaluate.scores import Record
from carrara.verdict.items import taken

NONE = "none"  # of the labels, where answers are written


@dataclass(frozen=True)
class Confusion:
    """`counts[i][j]` is how many items of label i were taken for label j, or at the end of a row for none of them."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """What items were taken for: the labels, and none of them where that happened."""
        return (*self.labels, NONE)[: len(self.counts[0])]

    @property
    def shares(self) -> tuple[tuple[float, ...], ...]:
        """The counts as shares of their row, which is the label's items; a row without items is all 0."""
        return tuple(tuple(count / max(sum(row), 1) for count in row) for row in self.counts)


def confusion(metric: str, records: Sequence[Record]) -> Confusion | None:
    """The confusion matrix by a metric's choices; None where items have choices of their own or none is taken."""
    labels = tuple(records[0].choices) if records else ()
    if len(labels) < 2 or any(tuple(record.choices) != labels for record in records):
        return None
    is_written = metric == "acc" and not any(record.loglikelihoods for record in records)
    counts = [[0] * (len(labels) + 1) for _ in labels]
    for record in records:
        choice = taken(metric, record)
        if record.gold is None or (choice is None and not is_written):
            return None
        counts[record.gold][len(labels) if choice is None else choice] += 1
    columns = len(labels) + any(row[-1] for row in counts)
    return Confusion(labels, tuple(tuple(row[:columns]) for row in counts))
