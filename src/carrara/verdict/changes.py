"""The items that changed between two models, the worst regressions first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.evaluate.scores import Record
from carrara.verdict import formats
from carrara.verdict.compare import TaskVerdict
from carrara.verdict.items import Pair, probabilities, score, taken
from carrara.verdict.measures import CORRELATION

MOST_ITEMS = 50  # kept for each task and side; the rest is counted


@dataclass(frozen=True)
class Answer:
    """One answer to an item; pairs are before and after, `shares` how likely it was held among the choices."""

    text: str
    right: bool
    taken: tuple[bool, bool]
    shares: tuple[float, float] | None


@dataclass(frozen=True)
class Change:
    """An item that got better or worse.

    `before` and `after` are the right answer's probability where `by_probability`, otherwise the item's score in the
    metric's unit; `gain` is what was won of it, negative for a loss.
    """

    row: TaskVerdict
    number: int
    question: str
    answers: list[Answer]
    by_probability: bool
    before: float
    after: float
    gain: float
    written: tuple[str, str] | None = None

    @property
    def answered(self) -> tuple[str, str] | None:
        """The answers that the models wrote or took, before and after; None where the metric lets them take none."""
        if self.written is not None:
            return self.written
        given = [[answer.text for answer in self.answers if answer.taken[side]] for side in (0, 1)]
        return (given[0][0], given[1][0]) if all(given) else None


@dataclass(frozen=True)
class TaskChanges:
    """The items of a task that changed by its metric: the largest losses and gains first, and how many there are."""

    row: TaskVerdict
    lost: list[Change]
    won: list[Change]
    lost_count: int
    won_count: int


def changes_of(row: TaskVerdict, pairs: Sequence[Pair]) -> TaskChanges:
    """What changed in a task: items that flipped between right and wrong, or whose value moved.

    None where a metric is of all items together, as a correlation is.
    """
    if formats.unit(row) == CORRELATION:
        return TaskChanges(row, [], [], 0, 0)
    gains = [_sign(row) * (score(row.metric, after) - score(row.metric, before)) for before, after in pairs]
    lost = sorted((_change(row, *pair) for pair, gain in zip(pairs, gains, strict=True) if gain < 0), key=_worst_first)
    won = sorted((_change(row, *pair) for pair, gain in zip(pairs, gains, strict=True) if gain > 0), key=_best_first)
    return TaskChanges(row, lost[:MOST_ITEMS], won[:MOST_ITEMS], len(lost), len(won))


def worst_first(tasks: Sequence[TaskChanges]) -> list[Change]:
    """The kept changes of all tasks: regressions, the largest loss first, then improvements, the largest gain first.

    Probabilities and losses in nats are no common measure, so tasks scored by fractions come first.
    """
    lost = [change for task in tasks for change in task.lost]
    won = [change for task in tasks for change in task.won]
    return [*sorted(lost, key=_worst_first), *sorted(won, key=_best_first)]


def _worst_first(change: Change) -> tuple[bool, float, int]:
    return formats.unit(change.row) != "points", change.gain, change.number


def _best_first(change: Change) -> tuple[bool, float, int]:
    return formats.unit(change.row) != "points", -change.gain, change.number


def _sign(row: TaskVerdict) -> int:
    return 1 if row.higher_is_better else -1


def _change(row: TaskVerdict, before: Record, after: Record) -> Change:
    by_probability, was, then = _measured(row, before, after)
    gain = (then - was) * (1 if by_probability else _sign(row))
    answers = _answers(row, before, after)
    written = (before.written, after.written) if before.written or after.written else None
    return Change(row, before.item + 1, before.question, answers, by_probability, was, then, gain, written)


def _measured(row: TaskVerdict, before: Record, after: Record) -> tuple[bool, float, float]:
    """Whether the right answer's probability tells what was won, and that or the score, before and after."""
    was, then = before.gold_probability, after.gold_probability
    if taken(row.metric, before) is not None and was is not None and then is not None:
        return True, was, then
    return False, score(row.metric, before), score(row.metric, after)


def _answers(row: TaskVerdict, before: Record, after: Record) -> list[Answer]:
    """The choices, which both had; a text that was only scored is no choice and has no shares."""
    chosen = taken(row.metric, before), taken(row.metric, after)
    shares = list(zip(probabilities(before), probabilities(after), strict=True))
    right = before.labels or [int(index == before.gold) for index in range(len(before.choices))]
    return [
        Answer(
            text=text,
            right=bool(right[index]),
            taken=(index == chosen[0], index == chosen[1]),
            shares=shares[index] if len(shares) > 1 else None,
        )
        for index, text in enumerate(before.choices)
    ]
