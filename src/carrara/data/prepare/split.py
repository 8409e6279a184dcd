"""Which row goes to which split: a function of its content and the seed, for whole clusters of rows at a time."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from carrara.data.dataset import Split
from carrara.data.example import Example
from carrara.recipe import PrepareRecipe

if TYPE_CHECKING:
    import numpy as np


def place_of(example: Example, seed: int) -> float:
    """The place of an example between 0 and 1, whatever other rows there are."""
    digest = hashlib.sha256(f"{seed}:{example.id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_at(place: float, recipe: PrepareRecipe) -> Split:
    """The split that holds a place: test, then validation, then train."""
    if place < recipe.test:
        return "test"
    return "validation" if place < recipe.test + recipe.validation else "train"


def assign_splits(
    clusters: np.ndarray,
    identities: np.ndarray,
    places: np.ndarray,
    labels: Sequence[str | None],
    recipe: PrepareRecipe,
) -> list[Split]:
    """The split of each row. All arrays `(rows,)`; `clusters` holds a cluster's name for each of its rows.

    A cluster goes where the row of the smallest identity belongs, so that neither the order of rows nor rows that are
    no part of it move it. A label with enough rows for a share is in that split with at least one cluster.
    """
    import numpy as np

    order = np.lexsort((identities, clusters))
    _, first = np.unique(clusters[order], return_index=True)
    leads = order[first]  # for each cluster its row of the smallest identity
    of_cluster: dict[int, Split] = {int(clusters[lead]): split_at(float(places[lead]), recipe) for lead in leads}
    if "train" not in of_cluster.values():  # too few clusters for shares; the last in line is learned from
        of_cluster[int(clusters[max(leads, key=lambda lead: float(places[lead]))])] = "train"
    if any(label is not None for label in labels):
        _fill_missing(of_cluster, leads, clusters, places, labels, recipe)
    return [of_cluster[int(cluster)] for cluster in clusters]


def _fill_missing(
    of_cluster: dict[int, Split],
    leads: np.ndarray,
    clusters: np.ndarray,
    places: np.ndarray,
    labels: Sequence[str | None],
    recipe: PrepareRecipe,
) -> None:
    """Give each label that a held-out split lacks the training cluster that lies nearest to that split."""
    counts = Counter(labels)
    by_label: dict[str | None, list[int]] = defaultdict(list)
    for lead in leads:
        by_label[labels[lead]].append(int(lead))
    for label, members in by_label.items():
        members.sort(key=lambda lead: float(places[lead]))
        shares: tuple[tuple[Split, float], ...] = (("test", recipe.test), ("validation", recipe.validation))
        for split, share in shares:
            mine = [of_cluster[int(clusters[lead])] for lead in members]
            if label is None or counts[label] * share < 1 or split in mine or mine.count("train") < 2:
                continue
            nearest = members[mine.index("train")]
            of_cluster[int(clusters[nearest])] = split
