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
CORRELATION = "correlation"
_NORMED = ("arc_", "hellaswag")  # published by acc_norm, as their answers differ in length


@dataclass(frozen=True)
class Measure:
    """How the records of a task become a score: sum of `field` over sum of `weight`, times `scale` (see `value_of`).

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
SPEARMAN = Measure("spearman", CORRELATION, True, "mean", "spearman")
PEARSON = Measure("pearson", CORRELATION, True, "mean", "pearson")
# Of what was written; a task has some of these, and the first that it has decides.
WRITTEN = (
    Measure("prompt_strict", POINTS, True, "binary", "prompt_strict"),
    Measure("instruction_strict", POINTS, True, "ratio", "followed_strict", "instructions"),
    Measure("prompt_loose", POINTS, True, "binary", "prompt_loose"),
    Measure("instruction_loose", POINTS, True, "ratio", "followed_loose", "instructions"),
    Measure("bleu_acc", POINTS, True, "binary", "bleu_acc"),
    Measure("chrf_acc", POINTS, True, "binary", "chrf_acc"),
    Measure("rougeL_acc", POINTS, True, "binary", "rougeL_acc"),
    Measure("bleu_diff", POINTS, True, "mean", "bleu_diff"),
    Measure("chrf_diff", POINTS, True, "mean", "chrf_diff"),
    Measure("rougeL_diff", POINTS, True, "mean", "rougeL_diff"),
    Measure("chrf", POINTS, True, "mean", "chrf"),
    Measure("bleu", POINTS, True, "mean", "bleu"),
    Measure("rouge_l", POINTS, True, "mean", "rouge_l"),
    Measure("missing_end", POINTS, False, "binary", "missing_end"),
    Measure("loops", POINTS, False, "binary", "loops"),
    Measure("repeated", POINTS, False, "mean", "repeated"),
    Measure("recited", POINTS, False, "mean", "recited"),
)

_SCORED = (ACC, ACC_NORM, GOLD_BITS_PER_BYTE, GOLD_PROBABILITY, MC2, LOSS, BITS_PER_BYTE)

BY_METRIC = MappingProxyType({each.metric: each for each in (*_SCORED, SPEARMAN, PEARSON, *WRITTEN)})


def value_of(record: Record, field: str) -> float | None:
    """What a record holds of an item under a name: one of its `measures`, or else a field of its own."""
    return record.measures[field] if field in record.measures else getattr(record, field, None)


def measures_of(task: str, records: Sequence[Record]) -> list[Measure]:
    """The measures that every record of a task has, the primary one first; none where nothing can be compared."""
    wanted = _of_kind(task, records[0])
    return [each for each in wanted if all(value_of(record, each.field) is not None for record in records)]


def _of_kind(task: str, record: Record) -> tuple[Measure, ...]:
    """Likelihoods of the right choice see small changes sooner than accuracy (arXiv 2508.13144)."""
    if task == HELDOUT:
        return LOSS, BITS_PER_BYTE
    if record.measures:
        return SPEARMAN, PEARSON, *WRITTEN
    if record.correct is None:
        return (MC2,) if record.gold is not None else ()
    accuracies = (ACC_NORM, ACC) if task.startswith(_NORMED) else (ACC, ACC_NORM)
    return *accuracies, GOLD_BITS_PER_BYTE, GOLD_PROBABILITY
