"""What would make a run give away less, where it applies to this very run."""

from __future__ import annotations

from carrara.data.dataset import Dataset
from carrara.workspace import Artefact

_MANY = 0.01  # of the rows, below which copies explain nothing


def remedy_of(run: Artefact, dataset: Dataset) -> str:
    """A sentence that names the remedies left for a run, empty where none is known; it begins with a space.

    What each is worth is measured by benchmarks/leakage.py.
    """
    epochs = float(run.made_by["tune"]["epochs"])
    copies = sum(dataset.checks["duplicates"]["kept"].values())
    left = [f"fewer epochs (this run took {epochs:g})"] if epochs > 1 else []
    if copies > _MANY * sum(dataset.artefact.summary["splits"].values()):
        left.append(f"dropping copies and near-copies (`--drop-duplicates near`; {copies:,} of its rows are such)")
    return f" What may help: {' or '.join(left)}." if left else ""
