"""The stage: score files become verdicts, a gate's answer and a report, kept with all that explains them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from carrara.errors import GateFailed, Refusal
from carrara.evaluate.run import ITEMS, latest_scores
from carrara.evaluate.scores import Scores, read_scores
from carrara.progress import Progress
from carrara.recipe import GateRule
from carrara.tune.run import Run
from carrara.verdict.compare import TaskVerdict, Verdict, compare_several
from carrara.verdict.details import run_details
from carrara.verdict.gate import GateResult, check_gate
from carrara.verdict.model_card import write_model_card
from carrara.verdict.report import write_report
from carrara.workspace import Artefact, Draft, Workspace, digest_of_file, user_path

FORMAT = 4  # raised when the same scores would give another verdict
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
        require_gates([self])


def require_gates(comparisons: Sequence[Comparison]) -> None:
    """Raise GateFailed naming every rule that was not met and, where there are several, the model that fails it."""
    failed = [
        f"{each.verdict.tuned.get('model_name')}: {result.sentence}" if len(comparisons) > 1 else result.sentence
        for each in comparisons
        for result in each.gate
        if not result.passed
    ]
    if failed:
        raise GateFailed("the gate is not met: " + " ".join(failed))


@dataclass(frozen=True)
class _File:
    """A score file, with the artefact of this workspace that it belongs to, if it does."""

    scores: Scores
    digest: str
    artefact: Artefact | None


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
    return compare_several_scores(workspace, base, [tuned], margin, rules, progress, looked)[0]


def compare_several_scores(
    workspace: Workspace,
    base: Path,
    tuned: Sequence[Path],
    margin: float,
    rules: Sequence[GateRule],
    progress: Progress,
    looked: bool = False,
) -> list[Comparison]:
    """The verdict on each of some tuned models against one base, all of them one family of tests; each has its report.

    Raises Refusal where there is none, and for scores that are named twice.
    """
    if not 0 <= margin <= 100:
        raise Refusal(f"the margin is {margin}; give points between 0 and 100.")
    before, after = _file(workspace, base), [_file(workspace, path) for path in tuned]
    digests = [each.digest for each in after]
    if twice := [path for path, digest in zip(tuned, digests, strict=True) if digests.count(digest) > 1]:
        raise Refusal(f"{twice[0]} and {twice[1]} are the same scores; name each tuned model once.")
    judge = cache(partial(compare_several, before.scores, [each.scores for each in after], margin, looked))
    comparisons: list[Comparison] = []
    for place, each in enumerate(after):
        made_by = {"format": FORMAT, "base": before.digest, "tuned": each.digest, "margin": margin}
        beside = sorted(digests[:place] + digests[place + 1 :])
        made_by |= ({"looked": True} if looked else {}) | ({"beside": beside} if beside else {})
        inputs = {role: file.artefact for role, file in (("base", before), ("tuned", each)) if file.artefact}
        build = partial(_build, workspace, before, each, lambda place=place: judge()[place])
        artefact = workspace.make("verdict", made_by, build, name="verdict", inputs=inputs, on_wait=progress.say)
        verdict = _read(artefact)
        comparisons.append(Comparison(verdict, check_gate(verdict, rules), artefact.path / _REPORT))
    return comparisons


def _build(workspace: Workspace, base: _File, tuned: _File, judge: Callable[[], Verdict], draft: Draft) -> None:
    verdict, run = judge(), _run_of(workspace, tuned.artefact)
    (draft.path / _VERDICT).write_text(json.dumps(asdict(verdict)), encoding="utf-8")
    shown = {**(run_details(workspace, run) if run else {}), **_receipts(base.scores, tuned.scores)}
    write_report(draft.path / _REPORT, verdict, base.scores, tuned.scores, run.curve if run else [], shown)
    write_model_card(draft.path / _CARD, verdict, base.scores, tuned.scores, shown)
    draft.summary.update(verdict=verdict.verdict)


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


def _file(workspace: Workspace, path: Path) -> _File:
    scores, digest = read_scores(path), digest_of_file(path)
    found = workspace.find("scores", path.resolve().parent.name)
    return _File(scores, digest, found if found and found.path == path.resolve().parent else None)


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
