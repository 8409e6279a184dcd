"""What the two records of an item say under a metric: the choice taken, the score, the probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from carrara.evaluate.classification import shares_of
from carrara.evaluate.scores import Record
from carrara.verdict.measures import BY_METRIC, value_of

Pair = tuple[Record, Record]  # the same item, before and after


def taken(metric: str, record: Record) -> int | None:
    """The choice that a record took by the metric; None where the metric judges no choice."""
    return {"acc": record.prediction, "acc_norm": record.prediction_norm}.get(metric)


def score(metric: str, record: Record) -> float:
    """An item's own score in the metric's unit: 1 or 0 for right or wrong, nats per token for a loss."""
    measure = BY_METRIC[metric]
    return float(value_of(record, measure.field) or 0) * measure.scale / weight(metric, record)


def weight(metric: str, record: Record) -> float:
    """How much an item counts in the mean of its task."""
    weight = BY_METRIC[metric].weight
    return max(value_of(record, weight) or 0, 1) if weight else 1


def mean_score(metric: str, records: Sequence[Record]) -> float:
    """The score of at least one item together, in the metric's unit."""
    weights = [weight(metric, record) for record in records]
    return float(np.average([score(metric, record) for record in records], weights=weights))


def probabilities(record: Record) -> list[float]:
    """How likely each choice is among the choices, by the likelihood of its whole text; empty without choices."""
    return shares_of(record.loglikelihoods) if record.loglikelihoods else []
