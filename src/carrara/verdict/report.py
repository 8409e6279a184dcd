"""The report: one HTML file that holds everything, loads nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from markupsafe import Markup

from carrara.evaluate.scores import Scores
from carrara.pages import environment
from carrara.verdict import formats, plots
from carrara.verdict.categories import FEW, Category, categories
from carrara.verdict.changes import changes_of, worst_first
from carrara.verdict.compare import TaskVerdict, Verdict, headline
from carrara.verdict.confusion import Confusion, confusion
from carrara.verdict.forest import panels
from carrara.verdict.pairing import Pairs, pair
from carrara.verdict.reliability import Reliability, diagram, reliability
from carrara.wording import line, plain, visible
from carrara.workspace.files import write_atomically

MOST_LABELS = 20  # of a confusion matrix that a page can hold

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class _Task:
    """A task's primary metric with all that its items tell beside the score."""

    row: TaskVerdict
    categories: list[Category]
    confusions: tuple[Confusion, Confusion] | None
    reliabilities: tuple[Reliability, Reliability] | None
    diagram: Markup | None


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
    pairs = [(row, pair(row.task, base.of(row.task), tuned.of(row.task))) for row in verdict.primaries()]
    changes = [changes_of(row, each) for row, each in pairs]
    html = (
        environment(Path(__file__).parent)
        .get_template("report.html.j2")
        .render(
            show=formats,
            line=line,
            visible=visible,
            verdict=verdict,
            headline=headline(verdict),
            models=[_model(verdict.base), _model(verdict.tuned)],
            panels=panels(verdict),
            changes=changes,
            changed=worst_first(changes),
            tasks=[_task(row, each) for row, each in pairs],
            few=FEW,
            most_labels=MOST_LABELS,
            curves=plots.curves(curve),
            details={title: {label: plain(item) for label, item in part.items()} for title, part in details.items()},
        )
    )
    write_atomically(path, html.encode("utf-8", errors="replace"))  # a hostile text may hold half a character


def _model(receipt: Mapping[str, Any]) -> str | None:
    """The model's name where the receipt holds one as text."""
    name = receipt.get("model_name")
    return name if isinstance(name, str) else None


def _task(row: TaskVerdict, pairs: Pairs) -> _Task:
    before, after = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    calibrated = _both(reliability(before), reliability(after))
    return _Task(
        row,
        categories(row, pairs),
        _both(confusion(row.metric, before), confusion(row.metric, after)),
        calibrated,
        diagram(row.task, *calibrated) if calibrated else None,
    )


def _both(before: _Found | None, after: _Found | None) -> tuple[_Found, _Found] | None:
    """Two findings that stand side by side; None where one is missing."""
    return (before, after) if before is not None and after is not None else None
