"""Items that share a source: what a model makes of them is not independent, so the cluster is the unit of chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from carrara.evaluate.scores import Record
from carrara.verdict.statistics import Array

Groups = NDArray[np.intp]


def groups_of(records: Sequence[Record]) -> Groups | None:
    """For each record the number of its cluster, from 0; None where every item stands alone.

    A record with an empty `cluster` is a cluster of its own.
    """
    names = [(record.cluster, 0 if record.cluster else index + 1) for index, record in enumerate(records)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names]) if len(numbers) < len(names) else None


def sums(values: Array, groups: Groups | None) -> Array:
    """The sum of the values of each cluster; the values themselves where there are none."""
    return values if groups is None else np.bincount(groups, weights=values).astype(np.float64)
