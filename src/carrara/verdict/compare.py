"""Two score tables in, one verdict out: better, worse, no worse or can't tell, for each metric and overall."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from carrara.errors import Refusal
from carrara.evaluate.scores import Scores
from carrara.tasks import LATENCY
from carrara.verdict import clusters, notes, power, sequential, statistics
from carrara.verdict.measures import CORRELATION, POINTS, Measure, measures_of, value_of
from carrara.verdict.outlook import outlooks
from carrara.verdict.pairing import Pairs, pair, require_same_rules

Word = Literal["better", "worse", "no worse", "can't tell"]

ALPHA = 0.05
_NONE = "none"
_NOTHING = "Nothing could be compared."


@dataclass(frozen=True)
class TaskVerdict:
    """One metric of one task. Accuracies and probabilities are fractions, loss is nats per token.

    `delta` is tuned - base with its 95 % interval `ci`, all in the metric's unit; `won` and `lost` count items that
    flipped to right and to wrong, or that got better and worse where the metric is continuous. `p_adjusted` is Holm's
    over the declared family: the primary metric of each task, of all tuned models that are judged together; a secondary
    metric keeps its own p and decides nothing. `detectable` is the true difference found with 80 % power, at .05 over
    the size of the family for a primary metric, so that it holds whatever the others show, and at .05 for others.
    `unit` is that of a difference; `clusters` counts the groups of items that share a source, 0 where none do.
    `is_flips` says that items are right or wrong, each by itself.
    """

    task: str
    metric: str
    base: float
    tuned: float
    delta: float
    ci: tuple[float, float]
    p: float
    p_adjusted: float
    n: int
    won: int
    lost: int
    detectable: float
    higher_is_better: bool
    verdict: Word
    primary: bool = True
    clusters: int = 0
    unit: str = POINTS
    is_flips: bool = False


@dataclass(frozen=True)
class Verdict:
    """All metrics that both sides have; `margin` in points (percent of the base value for other units).

    `verdict` is over the primary metric of each task; `base` and `tuned` are the receipts.
    """

    verdict: Literal["better", "mixed", "worse", "no worse", "can't tell"]
    verdicts: list[TaskVerdict]
    margin: float
    notes: list[str]
    base: Mapping[str, Any]
    tuned: Mapping[str, Any]

    def primary(self, task: str) -> TaskVerdict | None:
        """The metric that speaks for a task; None if the task is absent."""
        return next((row for row in self.primaries() if row.task == task), None)

    def primaries(self) -> list[TaskVerdict]:
        """The primary metric of each task, in the order of the tasks."""
        return [row for row in self.verdicts if row.primary]


@dataclass(frozen=True)
class _Question:
    """A task that can be compared: its items in pairs, its measures, and the cluster of each item, if any."""

    task: str
    pairs: Pairs
    measures: Sequence[Measure]
    groups: clusters.Groups | None


@dataclass(frozen=True)
class _Test:
    """What a test found; `ci` and `detectable` in the unit of the metric."""

    p: float
    ci: tuple[float, float]
    detectable: float


@dataclass(frozen=True)
class _Side:
    """A tuned model beside the base: the tasks that can be compared, and notes on what was left out or stands out."""

    tuned: Scores
    questions: list[_Question]
    notes: list[str]


def compare(base: Scores, tuned: Scores, margin: float = 1.5, looked: bool = False) -> Verdict:
    """Judge `tuned` against `base` on the items both answered; raises Refusal where the two were not asked alike.

    `margin` is what "no worse" may lose: percentage points, or percent of the base value for other units. `looked`
    says that the verdict is one of several while items are added, which decide when to stop: then only tests count
    that stay valid at any time, and tasks that have none are left out with a note.
    """
    return compare_several(base, [tuned], margin, looked)[0]


def compare_several(base: Scores, tuned: Sequence[Scores], margin: float = 1.5, looked: bool = False) -> list[Verdict]:
    """Judge each of some tuned models against `base` as `compare` does, the tests of all of them being one family.

    Holm runs over the primary metrics of all of them, and `detectable` is told for a family of that size: of many
    models that are alike, one will look better by luck.
    """
    sides: list[_Side] = []
    for each in tuned:
        with _naming(each, alone=len(tuned) == 1):
            sides.append(_side(base, each, looked))
    family = sum(len(side.questions) for side in sides)
    measured: list[list[TaskVerdict]] = []
    for side in sides:
        with _naming(side.tuned, alone=len(tuned) == 1):
            measured.append([row for each in side.questions for row in _measure(each, ALPHA / family, looked)])
    verdicts: list[Verdict] = []
    for side, rows, adjusted in zip(sides, measured, _adjusted(measured), strict=True):
        told = side.notes + _told(base, side, rows, family, looked) + notes.selected(len(sides), family)
        judged = [_judge(row, margin) for row in adjusted]
        word = _overall([row.verdict for row in judged if row.primary])
        verdicts.append(Verdict(word, judged, margin, told, base.receipt, side.tuned.receipt))
    return verdicts


@contextmanager
def _naming(tuned: Scores, alone: bool) -> Iterator[None]:
    """A Refusal inside begins with the name of the tuned model, unless there is none beside it."""
    try:
        yield
    except Refusal as refusal:
        if alone:
            raise
        raise Refusal(f"{tuned.receipt.get('model_name')}: {refusal}") from refusal


def _side(base: Scores, tuned: Scores, looked: bool) -> _Side:
    require_same_rules(base.receipt, tuned.receipt)
    shared = [task for task in base.tasks() if task in tuned.tasks() and task != LATENCY]
    if not shared and LATENCY in base.tasks() and LATENCY in tuned.tasks():
        raise Refusal("latency is shown with a model's scores, never judged; evaluate both on another task, too.")
    if not shared:
        raise Refusal(
            f"the two score files share no task ({_listed(base.tasks())} against {_listed(tuned.tasks())}); "
            "evaluate both models on the same tasks."
        )
    found = [_question(task, pair(task, base.of(task), tuned.of(task)), looked) for task in shared]
    told = notes.left_out(base, tuned) + notes.unjudged(base, tuned) + notes.devices_differ(base.receipt, tuned.receipt)
    told += [each for each in found if isinstance(each, str)]
    return _Side(tuned, [each for each in found if isinstance(each, _Question)], told)


def _told(base: Scores, side: _Side, rows: Sequence[TaskVerdict], family: int, looked: bool) -> list[str]:
    """Notes on what was measured: scores below guessing, how tasks are compared, what more items would show."""
    told: list[str] = []
    for each in side.questions:
        told += notes.below_guessing(each.pairs, each.measures, [row for row in rows if row.task == each.task])
    for each in side.questions:
        told += notes.by_item(each.task, base.receipt)
    most_lost = sequential.most_lost if looked else power.most_lost_by_mcnemar
    told += outlooks(rows, base, side.tuned, ALPHA / max(1, family), most_lost)
    return told + ([notes.LOOKED] if looked else [])


def is_no_worse(row: TaskVerdict, margin: float) -> bool:
    """Whether the worse end of the 95 % interval is inside `margin`, in the unit of `worst_loss`."""
    return worst_loss(row) < margin


def worst_loss(row: TaskVerdict) -> float:
    """What the interval still allows to have been lost: points, hundredths of a correlation, else percent of base."""
    loss = -row.ci[0] if row.higher_is_better else row.ci[1]
    if row.unit in (POINTS, CORRELATION):
        return 100 * loss
    return 100 * loss / row.base if row.base > 0 else math.inf


def headline(verdict: Verdict) -> str:
    """The overall verdict in one plain sentence, naming the tasks behind it."""
    words: tuple[Word, ...] = ("better", "worse", "no worse", "can't tell")
    tasks = {word: _listed([row.task for row in verdict.primaries() if row.verdict == word]) for word in words}
    found = [f"{word} on {tasks[word]}" for word in words[:3] if tasks[word] != _NONE]
    undecided = tasks["can't tell"]
    if not found:
        return f"On {undecided} these items cannot tell better from worse." if undecided != _NONE else _NOTHING
    sentence = "The tuned model is " + ", ".join(found)
    return f"{sentence}; on {undecided} these items cannot tell." if undecided != _NONE else f"{sentence}."


def _overall(words: Sequence[Word]) -> Literal["better", "mixed", "worse", "no worse", "can't tell"]:
    if "better" in words:
        return "mixed" if "worse" in words else "better"
    if "worse" in words:
        return "worse"
    return "no worse" if words and all(word == "no worse" for word in words) else "can't tell"


def _adjusted(sides: Sequence[Sequence[TaskVerdict]]) -> list[list[TaskVerdict]]:
    """Holm over the primary rows: the others are other views of the same answers, and would cost power for nothing."""
    adjusted = iter(statistics.holm([row.p for rows in sides for row in rows if row.primary]))
    return [[replace(row, p_adjusted=next(adjusted)) if row.primary else row for row in rows] for rows in sides]


def _judge(row: TaskVerdict, margin: float) -> TaskVerdict:
    """Give a measured row its word; significance first, so that a small but certain loss is called worse."""
    low, high = row.ci if row.higher_is_better else (-row.ci[1], -row.ci[0])
    word: Word = "can't tell"
    if row.p_adjusted < ALPHA and low > 0:
        word = "better"
    elif row.p_adjusted < ALPHA and high < 0:
        word = "worse"
    elif is_no_worse(row, margin):
        word = "no worse"
    return replace(row, verdict=word)


def _question(task: str, pairs: Pairs, looked: bool) -> _Question | str:
    """A task as it can be compared, or the sentence that says why it is left out."""
    if len(pairs) < 2:
        return f"{task} has a single item and was left out; a comparison needs at least 2."
    measures = measures_of(task, [record for both in pairs for record in both])
    if not measures:
        return f"{task} has no metric that can be compared and was left out."
    groups = clusters.groups_of([base for base, _ in pairs])
    if groups is not None and not groups.any():
        return f"{task} has a single cluster of items and was left out; a comparison needs at least 2."
    if looked:
        if groups is not None or measures[0].kind != "binary":
            return f"{task} has no test that stays valid while items are added, and was left out."
        measures = [measure for measure in measures if measure.kind == "binary"]
    return _Question(task, pairs, measures, groups)


def _measure(question: _Question, alpha: float, looked: bool) -> list[TaskVerdict]:
    """All metrics of a task, not yet adjusted or judged; the primary one is tested at `alpha`."""
    first, *others = question.measures
    rows = [_row(question, first, alpha, looked)]
    return rows + [replace(_row(question, measure, ALPHA, looked), primary=False) for measure in others]


def _row(question: _Question, measure: Measure, alpha: float, looked: bool) -> TaskVerdict:
    base, tuned, weights = _columns(question, measure)
    differences = tuned - base
    up, down = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    won, lost = (up, down) if measure.higher_is_better else (down, up)
    is_flips = measure.kind == "binary" and question.groups is None
    if is_flips and looked:
        test = _test_looked(differences, alpha)
    elif is_flips:
        test = _test_flips(up, down, len(base), alpha)
    else:
        test = _test_sums(differences, weights, question.groups, alpha)
        # Where no item changed nothing can be drawn; but a share changes by 1 at most, so flips bound what was missed.
        if measure.kind == "binary" or (measure.unit == POINTS and not differences.any()):
            test = _no_surer(test, _test_flips(up, down, len(base), alpha))
    return TaskVerdict(
        task=question.task,
        metric=measure.metric,
        base=float(base.sum() / weights.sum()),
        tuned=float(tuned.sum() / weights.sum()),
        delta=float(differences.sum() / weights.sum()),
        ci=test.ci,
        p=test.p,
        p_adjusted=test.p,
        n=len(base),
        won=won,
        lost=lost,
        detectable=test.detectable,
        higher_is_better=measure.higher_is_better,
        verdict="can't tell",
        clusters=0 if question.groups is None else int(question.groups.max()) + 1,
        unit=measure.unit,
        is_flips=is_flips,
    )


def _test_flips(up: int, down: int, n: int, alpha: float) -> _Test:
    """Exact McNemar and Tango's interval, of items that flipped from 0 to 1 and from 1 to 0."""
    detectable = min(1.0, power.detectable_share((up + down) / n, n, alpha))
    return _Test(statistics.mcnemar_exact(up, down), statistics.paired_proportion_interval(up, down, n), detectable)


def _test_looked(differences: statistics.Array, alpha: float) -> _Test:
    """The e-value over the items in their order, and an interval for how many flip times how many of these are won."""
    won, lost, n = int(np.sum(differences > 0)), int(np.sum(differences < 0)), len(differences)
    rates = sequential.share_interval(won + lost, n - won - lost, ALPHA / 2)
    shares = sequential.share_interval(won, lost, ALPHA / 2)
    ends = [rate * (2 * share - 1) for rate in rates for share in shares]
    detectable = min(1.0, power.detectable_share((won + lost) / n, n, alpha, sequential.most_lost))
    return _Test(sequential.anytime_p(differences), (min(ends), max(ends)), detectable)


def _test_sums(
    differences: statistics.Array, weights: statistics.Array, groups: clusters.Groups | None, alpha: float
) -> _Test:
    """Sign-flip p and paired bootstrap interval of sum(differences) / sum(weights), by clusters where there are any.

    Right and wrong answers in clusters are tested here too: McNemar takes each flip for a coin of its own, but items
    of a cluster flip together.
    """
    d, w = clusters.sums(differences, groups), clusters.sums(weights, groups)
    detectable = power.detectable_mean(statistics.ratio_deviation(d, w), len(d), alpha)
    return _Test(statistics.sign_flip_p(d), statistics.bootstrap_interval(d, w), detectable)


def _no_surer(test: _Test, alone: _Test) -> _Test:
    """A test claims no more than one of items alone: where few change, what is drawn anew hardly varies."""
    ci = min(test.ci[0], alone.ci[0]), max(test.ci[1], alone.ci[1])
    return replace(test, ci=ci, detectable=max(test.detectable, alone.detectable))


def _columns(question: _Question, measure: Measure) -> tuple[statistics.Array, statistics.Array, statistics.Array]:
    """The values of base and tuned, and the weights, which must be the same for both and positive."""
    values = _table(question.pairs, measure.field)
    broken = int(np.sum(~np.isfinite(values)))
    if broken:
        raise Refusal(
            f"task {question.task}: {broken} values are not finite, so a model's numbers overflowed; "
            "evaluate it in float32."
        )
    weights = _table(question.pairs, measure.weight) if measure.weight else np.ones_like(values)
    unlike = int(np.sum((weights[:, 0] != weights[:, 1]) | (weights[:, 0] <= 0)))
    if unlike:
        raise Refusal(
            f"task {question.task}: {unlike} items have no scored {measure.weight} or not the same number for both "
            "models; evaluate both models again."
        )
    return values[:, 0] * measure.scale, values[:, 1] * measure.scale, weights[:, 0]


def _table(pairs: Pairs, field: str) -> statistics.Array:
    return np.array([(value_of(base, field), value_of(tuned, field)) for base, tuned in pairs], dtype=float)


def _listed(names: Sequence[str]) -> str:
    """The names as a sentence has them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or _NONE
