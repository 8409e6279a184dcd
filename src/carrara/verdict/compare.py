"""Two score tables in, one verdict out: better, worse, no worse or can't tell, for each metric and overall."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from carrara.errors import Refusal
from carrara.evaluate.scores import Record, Scores
from carrara.verdict import statistics

Word = Literal["better", "worse", "no worse", "can't tell"]
Pairs = list[tuple[Record, Record]]

ALPHA = 0.05
_FEWEST_FLIPS = 6  # exact McNemar cannot reach p < .05 with fewer discordant items
_NONE = "none"
_NOTHING = "Nothing could be compared."
_SAME_RECEIPT = ("protocol", "dtype")  # receipt fields that should agree for a fair comparison


@dataclass(frozen=True)
class TaskVerdict:
    """One metric of one task. Accuracies and mc2 are fractions, loss is nats per token.

    `delta` is tuned - base with its 95 % interval `ci`; `detectable` is the true difference found with 80 % power
    at .05 before adjustment, all in the metric's unit. `won` and `lost` count items that flipped to right and to
    wrong, or that moved up and down where the metric is continuous; `p_adjusted` is Holm's over all metrics.
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


@dataclass(frozen=True)
class Verdict:
    """All metrics that both sides have; `margin` in points (percent of the base value where lower is better).

    `verdict` is over the primary metric of each task; `base` and `tuned` are the receipts.
    """

    verdict: Literal["better", "mixed", "worse", "no worse", "can't tell"]
    verdicts: list[TaskVerdict]
    margin: float
    notes: list[str]
    base: Mapping[str, Any]
    tuned: Mapping[str, Any]

    def primary(self, task: str) -> TaskVerdict | None:
        """The metric that speaks for a task: acc_norm for arc_* and hellaswag, otherwise the first; None if absent."""
        rows = [row for row in self.verdicts if row.task == task]
        if task.startswith(("arc_", "hellaswag")):
            rows.sort(key=lambda row: row.metric != "acc_norm")
        return rows[0] if rows else None

    def primaries(self) -> list[TaskVerdict]:
        """The primary metric of each task, in the order of the tasks."""
        tasks = dict.fromkeys(row.task for row in self.verdicts)
        return [row for task in tasks if (row := self.primary(task)) is not None]


def compare(base: Scores, tuned: Scores, margin: float = 1.5) -> Verdict:
    """Judge `tuned` against `base` on the items both answered; raises Refusal where the two were not asked alike.

    `margin` is what "no worse" may lose: percentage points, or percent of the base value where lower is better.
    """
    shared = [task for task in base.tasks() if task in tuned.tasks()]
    if not shared:
        raise Refusal(
            f"the two score files share no task ({_listed(base.tasks())} against {_listed(tuned.tasks())}); "
            "evaluate both models on the same tasks."
        )
    notes = _left_out(base, tuned) + _receipts_differ(base.receipt, tuned.receipt)
    measured: list[TaskVerdict] = []
    for task in shared:
        pairs = _pair(task, base.of(task), tuned.of(task))
        rows, task_notes = _measure(task, pairs)
        measured += rows
        notes += task_notes
    adjusted = statistics.holm([row.p for row in measured])
    verdicts = [_judge(replace(row, p_adjusted=p), margin) for row, p in zip(measured, adjusted, strict=True)]
    undecided = Verdict("can't tell", verdicts, margin, notes, base.receipt, tuned.receipt)
    return replace(undecided, verdict=_overall([row.verdict for row in undecided.primaries()]))


def is_no_worse(row: TaskVerdict, margin: float) -> bool:
    """Whether the worse end of the 95 % interval is inside `margin` (points, or percent of base for losses)."""
    return worst_loss(row) < margin


def worst_loss(row: TaskVerdict) -> float:
    """What the interval still allows to have been lost: percentage points, or percent of base for losses."""
    if row.higher_is_better:
        return -100 * row.ci[0]
    return 100 * row.ci[1] / row.base if row.base > 0 else math.inf


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


def _pair(task: str, base: Sequence[Record], tuned: Sequence[Record]) -> Pairs:
    """The same items side by side, in the base's order; raises Refusal if they are not the same items and prompts."""
    left, right = {record.item: record for record in base}, {record.item: record for record in tuned}
    if len(left) < len(base) or len(right) < len(tuned):
        twice = len(base) - len(left) + len(tuned) - len(right)
        raise Refusal(f"task {task}: {twice} items were scored more than once; evaluate the models again.")
    both = len(left.keys() & right.keys())
    if both < len(left) or both < len(right):
        raise Refusal(
            f"task {task}: {len(left) - both} items were scored only for the base and {len(right) - both} only for "
            f"the tuned model, {both} for both; evaluate both with the same limit and the same files."
        )
    different = sum(record.prompt_sha256 != right[item].prompt_sha256 for item, record in left.items())
    if different:
        raise Refusal(
            f"task {task}: {different} of {both} items were asked with different prompts; "
            "evaluate both models with the same protocol, shots and template."
        )
    return [(record, right[item]) for item, record in left.items()]


def _measure(task: str, pairs: Pairs) -> tuple[list[TaskVerdict], list[str]]:
    """All metrics of a task, not yet adjusted or judged, and what the reader should know about them."""
    if len(pairs) < 2:
        return [], [f"{task} has a single item and was left out; a comparison needs at least 2."]
    if task == "heldout":
        return _heldout(task, pairs), []
    if task == "truthfulqa_mc2":
        base, tuned = _values(task, pairs)
        return [_continuous(task, "mc2", base, tuned, np.ones(len(pairs)), higher_is_better=True)], []
    rows: list[TaskVerdict] = []
    notes: list[str] = []
    for metric, field in (("acc", "correct"), ("acc_norm", "correct_norm")):
        flags = [(getattr(base, field), getattr(tuned, field)) for base, tuned in pairs]
        if all(before is not None and after is not None for before, after in flags):
            rows.append(_accuracy(task, metric, np.array(flags, dtype=bool)))
            notes += _below_guessing(rows[-1], pairs)
    return rows, notes if rows else [f"{task} has no metric that can be compared and was left out."]


def _accuracy(task: str, metric: str, flags: NDArray[np.bool_]) -> TaskVerdict:
    """Exact McNemar and Tango's interval on rows of (base right, tuned right)."""
    n = len(flags)
    won, lost = int(np.sum(~flags[:, 0] & flags[:, 1])), int(np.sum(flags[:, 0] & ~flags[:, 1]))
    flipping = min(1.0, max(won + lost, _FEWEST_FLIPS) / n)
    p = statistics.mcnemar_exact(won, lost)
    return TaskVerdict(
        task=task,
        metric=metric,
        base=float(flags[:, 0].mean()),
        tuned=float(flags[:, 1].mean()),
        delta=(won - lost) / n,
        ci=statistics.paired_proportion_interval(won, lost, n),
        p=p,
        p_adjusted=p,
        n=n,
        won=won,
        lost=lost,
        detectable=min(1.0, statistics.detectable_difference(math.sqrt(flipping), n)),
        higher_is_better=True,
        verdict="can't tell",
    )


def _continuous(
    task: str,
    metric: str,
    base: statistics.Array,
    tuned: statistics.Array,
    weights: statistics.Array,
    higher_is_better: bool,
) -> TaskVerdict:
    """Sign-flip p and paired bootstrap interval of the difference in sum(values) / sum(weights)."""
    differences = tuned - base
    up, down = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    p = statistics.sign_flip_p(differences)
    deviation = statistics.ratio_deviation(differences, weights)
    return TaskVerdict(
        task=task,
        metric=metric,
        base=float(base.sum() / weights.sum()),
        tuned=float(tuned.sum() / weights.sum()),
        delta=float(differences.sum() / weights.sum()),
        ci=statistics.bootstrap_interval(differences, weights),
        p=p,
        p_adjusted=p,
        n=len(differences),
        won=up if higher_is_better else down,
        lost=down if higher_is_better else up,
        detectable=statistics.detectable_difference(deviation, len(differences)),
        higher_is_better=higher_is_better,
        verdict="can't tell",
    )


def _heldout(task: str, pairs: Pairs) -> list[TaskVerdict]:
    """Loss in nats per token, and bits per byte of the same texts."""
    base, tuned = _values(task, pairs)
    rows: list[TaskVerdict] = []
    for metric, unit, scale in (("loss", "tokens", 1.0), ("bits_per_byte", "bytes", 1 / math.log(2))):
        weights = np.array([(getattr(left, unit), getattr(right, unit)) for left, right in pairs], dtype=float)
        unlike = int(np.sum((weights[:, 0] != weights[:, 1]) | (weights[:, 0] <= 0)))
        if unlike:
            raise Refusal(
                f"task {task}: {unlike} items have no scored {unit} or not the same number for both models; "
                "evaluate both models again."
            )
        rows.append(_continuous(task, metric, base * scale, tuned * scale, weights[:, 0], higher_is_better=False))
    return rows


def _values(task: str, pairs: Pairs) -> tuple[statistics.Array, statistics.Array]:
    values = np.array([(base.value, tuned.value) for base, tuned in pairs], dtype=float)
    broken = int(np.sum(~np.isfinite(values)))
    if broken:
        raise Refusal(
            f"task {task}: {broken} values are not finite, so a model's numbers overflowed; evaluate it in float32."
        )
    return values[:, 0], values[:, 1]


def _below_guessing(row: TaskVerdict, pairs: Pairs) -> list[str]:
    """A note for each model more than 2 standard errors below guessing among the choices."""
    if not all(base.choices for base, _ in pairs):
        return []
    chances = np.array([1 / len(base.choices) for base, _ in pairs])
    chance, error = float(chances.mean()), math.sqrt(float(np.sum(chances * (1 - chances)))) / row.n
    return [
        f"{row.task} {row.metric}: the {name} model scores {100 * score:.1f} %, more than 2 standard errors below "
        f"guessing ({100 * chance:.1f} %); the labels or the answer format may be wrong."
        for name, score in (("base", row.base), ("tuned", row.tuned))
        if score < chance - 2 * error
    ]


def _left_out(base: Scores, tuned: Scores) -> list[str]:
    """A note for each task that only one side was measured on."""
    sides = (("base", base.tasks(), tuned.tasks()), ("tuned", tuned.tasks(), base.tasks()))
    return [
        f"{task} was measured only for the {name} model and was left out."
        for name, tasks, others in sides
        for task in tasks
        if task not in others
    ]


def _receipts_differ(base: Mapping[str, Any], tuned: Mapping[str, Any]) -> list[str]:
    """A note for each rule of the game that was not the same for both."""
    return [
        f"the two were evaluated with different {key}: {_named(base[key])} for the base, "
        f"{_named(tuned[key])} for the tuned model."
        for key in _SAME_RECEIPT
        if key in base and key in tuned and base[key] != tuned[key]
    ]


def _named(entry: Any) -> Any:
    """The name of a receipt's entry that holds more, such as a protocol."""
    return entry.get("name", entry) if isinstance(entry, Mapping) else entry


def _listed(names: Sequence[str]) -> str:
    """The names as a sentence has them: a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or _NONE
