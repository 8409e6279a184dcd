"""What this workspace has measured of a model before: the newest scores of each task, and verdicts on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from carrara.evaluate.metrics import guessing
from carrara.evaluate.run import ITEMS
from carrara.evaluate.scores import Record, read_scores
from carrara.models import Model
from carrara.scorecard.accuracy.interval import value_and_interval
from carrara.scorecard.figure import Figure
from carrara.tasks import HELDOUT, LATENCY
from carrara.verdict.measures import POINTS, measures_of
from carrara.workspace import Artefact, Workspace

_ELSEWHERE = (HELDOUT, LATENCY)  # measured anew for the card


def scores_of(workspace: Workspace, model: Model) -> list[Artefact]:
    """The scores of these very weights, newest first."""
    identity = model.identity()
    return [
        artefact
        for artefact in workspace.list("scores")
        if all(artefact.made_by.get(key) == value for key, value in identity.items())
    ]


def verdict_on(workspace: Workspace, model: Model, base: Model | None) -> Artefact | None:
    """The newest verdict on these weights against their base."""
    if base is None:
        return None
    sides = {
        role: {artefact.reference for artefact in scores_of(workspace, each)}
        for role, each in (("tuned", model), ("base", base))
    }
    return next(
        (
            artefact
            for artefact in workspace.list("verdict")
            if all(artefact.inputs.get(role) in references for role, references in sides.items())
        ),
        None,
    )


def scored(workspace: Workspace, model: Model, suffix: str = "") -> list[Figure]:
    """The primary measure of each task that the model was evaluated on here, from its newest scores."""
    found: dict[str, Figure] = {}
    for artefact in scores_of(workspace, model):
        scores = read_scores(artefact.path / ITEMS)
        for task in scores.tasks():
            if task in found or task in _ELSEWHERE:
                continue
            if figure := _figure(task, scores.of(task), _terms(scores.receipt, task), suffix):
                found[task] = figure
    return list(found.values())


def judged(artefact: Artefact | None) -> list[Figure]:
    """The word of a verdict, over all tasks and for each of them."""
    if artefact is None:
        return []
    content = json.loads((artefact.path / "verdict.json").read_text(encoding="utf-8"))
    rows = [row for row in content["verdicts"] if row["primary"]]
    source = f"{artefact.reference}: paired tests, Holm over {len(rows)} tasks"
    words = "; ".join(f"{row['task']} {row['verdict']}" for row in rows)
    whole = Figure("against its base", content["verdict"], None, "derived", source, meaning=f"Task by task: {words}.")
    return [whole, *(_word(row, source) for row in rows)]


def _terms(receipt: Mapping[str, Any], task: str) -> str:
    """On what terms a task was asked; measures of other terms are others."""
    shots = receipt["tasks"][task]["shots"]
    return receipt["protocol"]["name"] + (f", {shots} shots" if shots else "")


def _figure(task: str, records: list[Record], terms: str, suffix: str) -> Figure | None:
    measures = measures_of(task, records)
    if not measures:
        return None
    measure = measures[0]
    value, interval = value_and_interval(records, measure)
    unit = "%" if measure.unit == POINTS else measure.unit
    better = "higher" if measure.higher_is_better else "lower"
    items = f"{len(records):,} items, {terms}"
    source = f"evaluated here on {items}"
    meaning = ""
    if measure.metric in ("acc", "acc_norm"):
        chance = 100 * guessing(records)[0]
        meaning = f"It answers {value:.0f} of 100 questions right, where guessing gets {chance:.0f}."
    return Figure(
        f"{task} {measure.metric} of {items}{suffix}", value, interval, "measured", source, unit, better, meaning
    )


def _word(row: dict[str, Any], source: str) -> Figure:
    scale, unit = (100, "points") if row["unit"] == POINTS else (1, row["unit"])
    low, high = (scale * end for end in row["ci"])
    meaning = f"{row['metric']} changed by {scale * row['delta']:+.3g} {unit} ({low:+.3g} to {high:+.3g})."
    return Figure(f"{row['task']} against its base", row["verdict"], None, "derived", source, meaning=meaning)
