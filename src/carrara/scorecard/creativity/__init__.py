"""Creativity: how different a model's answers to one open prompt are, counted only where they hold together.

A model writes several answers to each open prompt, at two temperatures. Raw diversity is told as it is; the figure
`creativity` counts the distance in meaning of two answers only if both are coherent, so that a model which babbles
gains nothing by it. What coherence is stands in `coherence.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from carrara.errors import Refusal
from carrara.evaluate.text.recited import Recited
from carrara.models.adapters import switched_on
from carrara.models.load import Loaded
from carrara.scorecard.creativity.answers import WORDS, Answer, Manner, write_answers
from carrara.scorecard.creativity.figures import MODEL, figures_of
from carrara.scorecard.creativity.judging import judge_answers
from carrara.scorecard.creativity.measures import Need
from carrara.scorecard.creativity.prompts import Asking, asking_of, read_prompts
from carrara.scorecard.embedder import embedder_digest, load_embedder
from carrara.scorecard.figure import BASE, Figure
from carrara.scorecard.subject import Pair, Subject

FORMAT = 3  # raised when the same model would get other figures


def terms(subject: Subject) -> dict[str, Any]:
    """What determines the figures: the prompts, how they are asked, and whether an embedder is at hand."""
    embedder = embedder_digest(subject.workspace, subject.progress)
    prompts = [asdict(prompt) for prompt in read_prompts()]
    return {"prompts": prompts, "manner": asdict(Manner(seed=subject.seed)), "embedder": embedder}


def measure(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """The figures of this criterion, of the model and of its base; a measure that cannot be taken says why."""
    both, manner = pair(), Manner(seed=subject.seed)
    models = {MODEL: both.model} | ({BASE: both.base} if both.base else {})
    asking = asking_of(each.loaded for each in models.values())
    answers: dict[str, list[Answer]] = {}
    for name, adapted in models.items():
        with switched_on(adapted) as loaded:
            answers[name] = write_answers(loaded, asking, manner, subject.progress)
    tuned_on = subject.tuned_on
    rows = Recited(row.body for row in tuned_on.each("train")) if tuned_on else None
    embedder = _embedder(subject)
    judge = BASE if both.base else MODEL
    with switched_on(models[judge]) as loaded:
        found = embedder if isinstance(embedder, Loaded) else None
        judged = judge_answers(loaded, asking, answers, judge, found, rows)
    return figures_of(judged, _source(asking, manner, judge), _lacking(asking, embedder, rows))


def _source(asking: Asking, manner: Manner, judge: str) -> str:
    form = "by the chat template" if asking.chat else "as openings of plain texts, since it cannot chat"
    temperatures = " and ".join(f"{each:g}" for each in manner.temperatures)
    return (
        f"{len(asking.prompts)} open prompts {form}, {manner.samples} answers to each at temperatures {temperatures}, "
        f"at most {manner.budget} tokens, seed {manner.seed}; diversity of the first {WORDS} words; coherence by "
        f"{'its base' if judge == BASE else 'the model itself'}; mean over the prompts, which the interval draws"
    )


def _lacking(asking: Asking, embedder: Loaded | Refusal, rows: Recited | None) -> dict[Need, str]:
    lacking: dict[Need, str] = {}
    if not asking.chat:
        lacking["chat"] = "it has no chat template, and what goes on from the opening of a text need not end."
    if isinstance(embedder, Refusal):
        lacking["embedder"] = f"the small embedder cannot be had: {embedder}"
    if rows is None:
        lacking["rows"] = "it was not tuned in this workspace, so there are no training rows to compare with."
    return lacking


def _embedder(subject: Subject) -> Loaded | Refusal:
    """The small embedder, or why it cannot be had."""
    try:
        return load_embedder(subject.workspace, subject.progress)
    except Refusal as refusal:
        return refusal
