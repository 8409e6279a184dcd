"""The stage: two score files become a verdict, a gate's answer and a report, kept with all that explains them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carrara.errors import GateFailed, Refusal
from carrara.evaluate.scores import Scores, read_scores
from carrara.progress import Progress
from carrara.recipe import GateRule
from carrara.verdict.compare import TaskVerdict, Verdict, compare
from carrara.verdict.gate import GateResult, check_gate
from carrara.verdict.report import write_report
from carrara.workspace import Artefact, Draft, Workspace, digest_of_file

FORMAT = 1  # raised when the same scores would give another verdict
_VERDICT, _REPORT = "verdict.json", "report.html"


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
    run: Artefact | None = None,
    details: Mapping[str, Mapping[str, Any]] | None = None,
) -> Comparison:
    """The verdict on two score files; raises Refusal where they cannot be compared.

    With a `run`, the report shows its loss curve; `details` become tables at its end.
    """
    before, after = read_scores(base), read_scores(tuned)
    made_by = {
        "format": FORMAT,
        "base": digest_of_file(base),
        "tuned": digest_of_file(tuned),
        "margin": margin,
        "run": run.reference if run else None,
        "details": {title: dict(rows) for title, rows in (details or {}).items()},
    }

    def build(draft: Draft) -> None:
        verdict = compare(before, after, margin)
        curve = json.loads((run.path / "curve.json").read_text(encoding="utf-8")) if run else []
        (draft.path / _VERDICT).write_text(json.dumps(asdict(verdict)), encoding="utf-8")
        shown = {**(details or {}), **_receipts(before, after)}
        write_report(draft.path / _REPORT, verdict, before, after, curve, shown)
        draft.summary.update(verdict=verdict.verdict)

    inputs = {"run": run} if run else {}
    artefact = workspace.make("verdict", made_by, build, name="verdict", inputs=inputs, on_wait=progress.say)
    verdict = _read(artefact)
    return Comparison(verdict, check_gate(verdict, rules), artefact.path / _REPORT)


def find_scores(workspace: Workspace, text: str) -> Path:
    """The score file that a path, `scores/<id>`, or the name of a model or run (its newest scores) means."""
    path = Path(text).expanduser()
    if path.is_dir() and (path / "items.parquet").is_file():
        return path / "items.parquet"
    if path.suffix == ".parquet" or path.is_file():
        return path
    if text.startswith("scores/"):
        return workspace.get(text).path / "items.parquet"
    for scores in workspace.list("scores"):
        if text in (scores.name, scores.inputs.get("model")):
            return scores.path / "items.parquet"
    raise Refusal(f"there are no scores of '{text}'; run `carrara evaluate {text}` first, or give a score file.")


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
