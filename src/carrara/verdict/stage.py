"""The stage: two score files become a verdict, a gate's answer and a report, kept with all that explains them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carrara.errors import GateFailed, Refusal
from carrara.evaluate.run import ITEMS, latest_scores
from carrara.evaluate.scores import Scores, read_scores
from carrara.progress import Progress
from carrara.recipe import GateRule
from carrara.tune.run import Run
from carrara.verdict.compare import TaskVerdict, Verdict, compare
from carrara.verdict.details import run_details
from carrara.verdict.gate import GateResult, check_gate
from carrara.verdict.model_card import write_model_card
from carrara.verdict.report import write_report
from carrara.workspace import Artefact, Draft, Workspace, digest_of_file, user_path

FORMAT = 2  # raised when the same scores would give another verdict
MARGIN = 1.5  # points that a score may fall and still count as no worse
_VERDICT, _REPORT, _CARD = "verdict.json", "report.html", "README.md"


@dataclass(frozen=True)
class Comparison:
    """A verdict with the answer of each rule of the gate, and where the report is."""

    verdict: Verdict
    gate: list[GateResult]
    report: Path

    def require_gate(self) -> None:
        """Raise GateFailed naming every rule that was not met."""
        failed = [result.sentence for result in self.gate if not result.passed]
        if failed:
            raise GateFailed("the gate is not met: " + " ".join(failed))


def compare_scores(
    workspace: Workspace,
    base: Path,
    tuned: Path,
    margin: float,
    rules: Sequence[GateRule],
    progress: Progress,
    looked: bool = False,
) -> Comparison:
    """The verdict on two score files, `looked` at while items are added or once; raises Refusal where there is none.

    Where the tuned scores are a run's, the report shows its loss curve, its recipe and what it took.
    """
    if not 0 <= margin <= 100:
        raise Refusal(f"the margin is {margin}; give points between 0 and 100.")
    before, after = read_scores(base), read_scores(tuned)
    files = {"base": digest_of_file(base), "tuned": digest_of_file(tuned)}
    made_by = {"format": FORMAT, **files, "margin": margin, **({"looked": True} if looked else {})}
    inputs = {role: a for role, path in (("base", base), ("tuned", tuned)) if (a := _artefact_of(workspace, path))}
    run = _run_of(workspace, inputs.get("tuned"))

    def build(draft: Draft) -> None:
        verdict = compare(before, after, margin, looked)
        (draft.path / _VERDICT).write_text(json.dumps(asdict(verdict)), encoding="utf-8")
        shown = {**(run_details(workspace, run) if run else {}), **_receipts(before, after)}
        write_report(draft.path / _REPORT, verdict, before, after, run.curve if run else [], shown)
        write_model_card(draft.path / _CARD, verdict, before, after, shown)
        draft.summary.update(verdict=verdict.verdict)

    artefact = workspace.make("verdict", made_by, build, name="verdict", inputs=inputs, on_wait=progress.say)
    verdict = _read(artefact)
    return Comparison(verdict, check_gate(verdict, rules), artefact.path / _REPORT)


def find_scores(workspace: Workspace, text: str) -> Path:
    """The score file that a path, `scores/<id>`, or the name of a model or run (its latest scores) means."""
    path = user_path(text)
    if path.is_dir() and (path / ITEMS).is_file():
        return path / ITEMS
    if path.suffix == ".parquet" or path.is_file():
        return path
    if text.startswith("scores/"):
        return workspace.get(text).path / ITEMS
    name = workspace.get(text).reference if text.startswith("run/") else text
    latest = workspace.index.alias(latest_scores(name))
    if latest and (scores := workspace.find(*latest.split("/", 1))):
        return scores.path / ITEMS
    raise Refusal(f"there are no scores of '{text}'; run `carrara evaluate {text}` first, or give a score file.")


def _artefact_of(workspace: Workspace, path: Path) -> Artefact | None:
    """The scores of this workspace that a file belongs to, if it does."""
    found = workspace.find("scores", path.resolve().parent.name)
    return found if found and found.path == path.resolve().parent else None


def _run_of(workspace: Workspace, scores: Artefact | None) -> Run | None:
    model = scores.inputs["model"] if scores else ""
    return Run(workspace.get(model)) if model.startswith("run/") else None


def _read(artefact: Artefact) -> Verdict:
    fields = json.loads((artefact.path / _VERDICT).read_text(encoding="utf-8"))
    rows = [TaskVerdict(**{**row, "ci": tuple(row["ci"])}) for row in fields.pop("verdicts")]
    return Verdict(verdicts=rows, **fields)


def _receipts(base: Scores, tuned: Scores) -> dict[str, dict[str, Any]]:
    return {"Receipt, before": _flat(base.receipt), "Receipt, after": _flat(tuned.receipt)}


def _flat(receipt: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in receipt.items():
        if isinstance(value, Mapping):
            rows |= _flat(value, f"{prefix}{key}.")
        else:
            rows[f"{prefix}{key}"] = "–" if value is None else value
    return rows
