"""What is compared, as data: the measures of each kind of task, the one that decides first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from carrara.evaluate.scores import Record
from carrara.tasks import HELDOUT

POINTS = "points"  # the unit of shares: they are kept as fractions and shown in percent
_NORMED = ("arc_", "hellaswag")  # published by acc_norm, as their answers differ in length


@dataclass(frozen=True)
class Measure:
    """How the records of a task become a score: sum of `field` over sum of `weight`, times `scale`.

    A `binary` field is right or wrong, of a `mean` every item counts alike, a `ratio` weighs items by `weight`.
    `unit` is that of a difference.
    """

    metric: str
    unit: str
    higher_is_better: bool
    kind: Literal["binary", "mean", "ratio"]
    field: str
    weight: str = ""
    scale: float = 1.0


ACC = Measure("acc", POINTS, True, "binary", "correct")
ACC_NORM = Measure("acc_norm", POINTS, True, "binary", "correct_norm")
GOLD_BITS_PER_BYTE = Measure("gold_bits_per_byte", "bits per byte", False, "mean", "gold_bits_per_byte")
GOLD_PROBABILITY = Measure("gold_probability", POINTS, True, "mean", "gold_probability")
MC2 = Measure("mc2", POINTS, True, "mean", "value")
LOSS = Measure("loss", "nats per token", False, "ratio", "value", "tokens")
BITS_PER_BYTE = Measure("bits_per_byte", "bits per byte", False, "ratio", "value", "bytes", 1 / math.log(2))


BY_METRIC = MappingProxyType(
    {each.metric: each for each in (ACC, ACC_NORM, GOLD_BITS_PER_BYTE, GOLD_PROBABILITY, MC2, LOSS, BITS_PER_BYTE)}
)


def measures_of(task: str, records: Sequence[Record]) -> list[Measure]:
    """The measures that every record of a task has, the primary one first; none where nothing can be compared."""
    wanted = _of_kind(task, records[0])
    return [each for each in wanted if all(getattr(record, each.field) is not None for record in records)]


def _of_kind(task: str, record: Record) -> tuple[Measure, ...]:
    """Likelihoods of the right choice see small changes sooner than accuracy (arXiv 2508.13144)."""
    if task == HELDOUT:
        return LOSS, BITS_PER_BYTE
    if record.correct is None:
        return (MC2,) if record.gold is not None else ()
    accuracies = (ACC_NORM, ACC) if task.startswith(_NORMED) else (ACC, ACC_NORM)
    return *accuracies, GOLD_BITS_PER_BYTE, GOLD_PROBABILITY
