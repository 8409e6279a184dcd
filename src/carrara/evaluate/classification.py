"""How well labels are told apart: precision, recall and F1 of each, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from carrara.evaluate.scores import Record

BINS = 15  # with as many items in each, since confidences crowd (arXiv 1904.01685)


@dataclass(frozen=True)
class Label:
    """One label: its items, how many of those taken for it are of it, and how many of it were taken for it.

    `precision` is 0 where nothing was taken for it.
    """

    name: str
    items: int
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def labels_of(records: Sequence[Record]) -> list[Label]:
    """Each label that a task's records offer, in their order; labels without items have a recall of 0."""
    found = []
    for number, name in enumerate(records[0].choices):
        hits = sum(record.gold == number == record.prediction for record in records)
        items = sum(record.gold == number for record in records)
        taken = sum(record.prediction == number for record in records)
        found.append(Label(name, items, hits / taken if taken else 0.0, hits / items if items else 0.0))
    return found


def macro_f1(records: Sequence[Record]) -> float:
    """The mean F1 of the labels that occur or were taken; each counts alike, however rare it is."""
    taken = {record.prediction for record in records}
    found = [label.f1 for number, label in enumerate(labels_of(records)) if label.items or number in taken]
    return math.fsum(found) / len(found)


def balanced_accuracy(records: Sequence[Record]) -> float:
    """The mean recall of the labels that have items."""
    found = [label.recall for label in labels_of(records) if label.items]
    return math.fsum(found) / len(found)


def brier(records: Sequence[Record]) -> float:
    """The mean squared distance of all probabilities from 1 for the right choice and 0 for the others (Brier 1950)."""
    return math.fsum(
        (share - (number == record.gold)) ** 2
        for record in records
        for number, share in enumerate(shares_of(record.loglikelihoods))
    ) / len(records)


@dataclass(frozen=True)
class Bin:
    """Items of like confidence: their number, their mean confidence and the share that is right."""

    count: int
    confidence: float
    accuracy: float


def bins_of(records: Sequence[Record]) -> list[Bin]:
    """Items by the probability of their likeliest choice among the choices, as many in each of `BINS` bins."""
    judged = sorted((max(shares_of(record.loglikelihoods)), record.prediction == record.gold) for record in records)
    count = min(BINS, len(judged))
    ends = [len(judged) * number // count for number in range(count + 1)]
    parts = [judged[start:end] for start, end in pairwise(ends)]
    return [
        Bin(len(part), math.fsum(sure for sure, _ in part) / len(part), sum(right for _, right in part) / len(part))
        for part in parts
    ]


def calibration_error(records: Sequence[Record]) -> float:
    """The mean distance of confidence from the share that is right, over the bins (arXiv 1706.04599)."""
    return math.fsum(each.count * abs(each.accuracy - each.confidence) for each in bins_of(records)) / len(records)


def shares_of(loglikelihoods: Sequence[float]) -> list[float]:
    """How likely each choice is among the choices."""
    top = max(loglikelihoods)
    weights = [math.exp(value - top) for value in loglikelihoods]
    return [weight / sum(weights) for weight in weights]
