"""What must be said beside a verdict: what was left out, what stands out, and how the numbers are to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from carrara.evaluate.metrics import guessing
from carrara.evaluate.scores import Scores
from carrara.tasks import BENCHMARKS, LATENCY
from carrara.verdict.measures import ACC, ACC_NORM, Measure
from carrara.verdict.pairing import Pairs

if TYPE_CHECKING:
    from carrara.verdict.compare import TaskVerdict

LOOKED = "This is one of several looks: p-values and intervals stay valid while items are added, whenever one stops."
_BY_ITEM = "mmlu is compared over all questions alike; the score of its protocol is the mean of the subjects' scores."


def selected(models: int, family: int) -> list[str]:
    """The note that one of several tuned models is judged, with the number of tests of all of them."""
    if models == 1:
        return []
    return [
        f"This is one of {models} tuned models on one base, and p is adjusted over the {family} primary metrics of all "
        "of them. Choosing the best of them by these items overstates it; confirm the one you choose on other items."
    ]


def left_out(base: Scores, tuned: Scores) -> list[str]:
    """A note for each task that only one side was measured on."""
    sides = (("base", base.tasks(), tuned.tasks()), ("tuned", tuned.tasks(), base.tasks()))
    return [
        f"{task} was measured only for the {name} model and was left out."
        for name, tasks, others in sides
        for task in tasks
        if task not in others
    ]


def unjudged(base: Scores, tuned: Scores) -> list[str]:
    """A note where both sides have a task that tells of the machine as much as of the model."""
    if LATENCY not in base.tasks() or LATENCY not in tuned.tasks():
        return []
    return [
        "latency depends on the machine and what else it does, so it is shown with each model's scores, not judged."
    ]


def devices_differ(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> list[str]:
    """A note where two receipts name unlike devices, which round differently."""
    before, after = base.get("device"), tuned.get("device")
    if before == after:
        return []
    return [
        f"the base ran on {before} and the tuned model on {after}; rounding may flip items whose choices are close."
    ]


def below_guessing(pairs: Pairs, measures: Sequence[Measure], rows: Sequence[TaskVerdict]) -> list[str]:
    """A note for each accuracy of a task that is more than 2 standard errors below guessing among the choices."""
    binary = {measure.metric for measure in measures if measure in (ACC, ACC_NORM)}
    if not binary or not all(base.choices for base, _ in pairs):
        return []
    chance, error = guessing([base for base, _ in pairs])
    return [
        f"{row.task} {row.metric}: the {name} model scores {100 * score:.1f} %, more than 2 standard errors below "
        f"guessing ({100 * chance:.1f} %); the labels or the answer format may be wrong."
        for row in rows
        if row.metric in binary
        for name, score in (("base", row.base), ("tuned", row.tuned))
        if score < chance - 2 * error
    ]


def by_item(task: str, receipt: Mapping[str, Any]) -> list[str]:
    """A note where a protocol takes the mean of a task's categories and a verdict the mean of its items."""
    has_mean = task in BENCHMARKS and BENCHMARKS[task].has_category_mean
    return [_BY_ITEM] if has_mean and receipt["protocol"].get("category_mean") else []
