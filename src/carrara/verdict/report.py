"""The report: one HTML file that holds everything, loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrara.evaluate.scores import Record, Scores
from carrara.pages import environment
from carrara.verdict import formats, plots
from carrara.verdict.compare import TaskVerdict, Verdict, headline
from carrara.wording import plain, short
from carrara.workspace.files import write_atomically

MOST_ITEMS = 20  # shown for each task and side


@dataclass(frozen=True)
class Change:
    """An item that changed between the models: choices as (text, right, chosen before, chosen after)."""

    number: int
    question: str
    choices: list[tuple[str, bool, bool, bool]]
    before: str  # the item's score where nothing is chosen, otherwise empty
    after: str


@dataclass(frozen=True)
class Changes:
    """The items of a task that got better and worse by its primary metric, at most `MOST_ITEMS` a side."""

    row: TaskVerdict
    won: list[Change]
    lost: list[Change]


def write_report(
    path: Path,
    verdict: Verdict,
    base: Scores,
    tuned: Scores,
    curve: Sequence[Mapping[str, Any]],
    details: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write the report of a verdict to `path`, whole or not at all.

    `base` and `tuned` are the scores compared, `curve` holds a run's points (tune/curves.py),
    `details` maps a section's title to its labels and values: recipe, receipts, costs.
    """
    templates = environment(Path(__file__).parent)
    html = templates.get_template("report.html.j2").render(
        show=formats,
        verdict=verdict,
        headline=headline(verdict),
        models=[_model(verdict.base), _model(verdict.tuned)],
        cards=_cards(verdict),
        curves=plots.curves(curve),
        changes=[_changes(row, base, tuned) for row in verdict.primaries()],
        details={title: {label: plain(item) for label, item in part.items()} for title, part in details.items()},
    )
    write_atomically(path, html.encode("utf-8", errors="replace"))  # a hostile text may hold half a character


def _model(receipt: Mapping[str, Any]) -> str | None:
    """The model's name where the receipt holds one as text."""
    name = receipt.get("model_name")
    return name if isinstance(name, str) else None


def _cards(verdict: Verdict) -> list[tuple[TaskVerdict, Any]]:
    """The primary metric of each task with its plot; accuracies share the width of their axes, to be comparable."""
    rows = verdict.primaries()
    alike = [row for row in rows if row.higher_is_better]
    reaches = [plots.shared_reach(alike if row.higher_is_better else [row], verdict.margin) for row in rows]
    return [(row, plots.before_after(row, verdict.margin, reach)) for row, reach in zip(rows, reaches, strict=True)]


def _changes(row: TaskVerdict, base: Scores, tuned: Scores) -> Changes:
    after = {record.item: record for record in tuned.of(row.task)}
    pairs = [(record, after[record.item]) for record in base.of(row.task)]
    gains = [_gain(row, before, then) for before, then in pairs]
    changed = [index for index, gain in enumerate(gains) if gain]
    changed.sort(key=lambda index: (-abs(gains[index]), pairs[index][0].item))
    won = [_change(row, *pairs[index]) for index in changed if gains[index] > 0]
    lost = [_change(row, *pairs[index]) for index in changed if gains[index] < 0]
    return Changes(row, won[:MOST_ITEMS], lost[:MOST_ITEMS])


def _gain(row: TaskVerdict, before: Record, after: Record) -> float:
    """How much an item adds to the difference, positive if it got better: 1 for an item that flipped to right."""
    if row.metric == "acc":
        return float(bool(after.correct)) - float(bool(before.correct))
    if row.metric == "acc_norm":
        return float(bool(after.correct_norm)) - float(bool(before.correct_norm))
    return (after.value - before.value) * (1 if row.higher_is_better else -1)


def _change(row: TaskVerdict, before: Record, after: Record) -> Change:
    choosing = row.metric in ("acc", "acc_norm")
    chosen = [None, None]
    if choosing:
        normed = row.metric == "acc_norm"
        chosen = [record.prediction_norm if normed else record.prediction for record in (before, after)]
    choices = [
        (short(choice), choosing and index == before.gold, index == chosen[0], index == chosen[1])
        for index, choice in enumerate(before.choices)
    ]
    scores = ["", ""] if choosing else [_score(row, record) for record in (before, after)]
    return Change(before.item + 1, short(before.question), choices, *scores)


def _score(row: TaskVerdict, record: Record) -> str:
    """An item's own score, in the metric's unit."""
    return formats.value(row, record.value / record.tokens if row.metric == "loss" else record.value)
