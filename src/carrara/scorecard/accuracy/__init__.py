"""Accuracy: what others published, what was scored here, the user's own held-out rows, and what more rows would bring.

`learning_curve` trains, so it is asked for apart from `measure`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from carrara.scorecard.accuracy.baseline import baseline
from carrara.scorecard.accuracy.outlook import learning_curve
from carrara.scorecard.accuracy.published import published
from carrara.scorecard.accuracy.scored import judged, scored, scores_of, verdict_on
from carrara.scorecard.figure import BASE, Figure
from carrara.scorecard.subject import Pair, Subject

__all__ = ["FORMAT", "learning_curve", "measure", "published", "terms"]

FORMAT = 4  # raised when the same model would get other figures


def terms(subject: Subject) -> dict[str, Any]:
    """What determines the figures beside the model, its base, the rows and the seed."""
    workspace = subject.workspace
    models = [subject.model, *([subject.base] if subject.base else [])]
    verdict = verdict_on(workspace, subject.model, subject.base)
    return {
        "published": [figure.to_json() for figure in published(subject.entry)],
        "scores": [artefact.reference for model in models for artefact in scores_of(workspace, model)],
        "verdict": verdict.reference if verdict else None,
    }


def measure(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """The figures of this criterion; `pair` loads the weights where they are needed."""
    workspace, model, base = subject.workspace, subject.model, subject.base
    told = published(subject.entry)
    if base or model.adapter_digest:  # the entry is of the weights below, also of an adapter from elsewhere
        told = [replace(figure, measure=f"{figure.measure}{BASE}") for figure in told]
    return [
        *told,
        *scored(workspace, model),
        *(scored(workspace, base, BASE) if base else []),
        *judged(verdict_on(workspace, model, base)),
        *baseline(subject, pair),
    ]
