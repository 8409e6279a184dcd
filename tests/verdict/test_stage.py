"""The stage: a verdict is kept with its report, scores are found by name, a gate decides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from carrara.errors import GateFailed, Refusal
from carrara.evaluate.run import latest_scores
from carrara.evaluate.scores import Record, Scores, read_scores, write_scores
from carrara.progress import Silent
from carrara.recipe import GateRule
from carrara.verdict.compare import compare
from carrara.verdict.stage import compare_scores, find_scores
from carrara.workspace import Draft, Workspace


def _scores(path: Path, right: int, n: int = 200) -> Path:
    blank = Record(
        "arc_easy", 0, "q", "Q?", ["a", "b"], "h", [-1.0, -2.0], 0, 0, True, 0, True, 1.0, 0.7, 1.0, 2, 4, 0.1
    )
    records = [
        replace(
            blank,
            item=item,
            prediction=0 if item < right else 1,
            correct=item < right,
            prediction_norm=0 if item < right else 1,
            correct_norm=item < right,
            value=float(item < right),
        )
        for item in range(n)
    ]
    write_scores(path, Scores(records, {"model_name": path.stem, "protocol": {"name": "lm-eval-0.4"}}))
    return path


def test_a_verdict_is_kept_and_found_again(workspace: Workspace, tmp_path: Path) -> None:
    base, tuned = _scores(tmp_path / "base.parquet", 100), _scores(tmp_path / "tuned.parquet", 150)
    first = compare_scores(workspace, base, tuned, 1.5, (), Silent())
    assert first.verdict.verdict == "better"
    assert first.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    again = compare_scores(workspace, base, tuned, 1.5, (), Silent())
    assert again == first
    assert len(workspace.list("verdict")) == 1


def test_the_gate_decides(workspace: Workspace, tmp_path: Path) -> None:
    base, tuned = _scores(tmp_path / "base.parquet", 150), _scores(tmp_path / "tuned.parquet", 100)
    rules = (GateRule(task="arc_easy", metric="acc", require="no_worse"),)
    comparison = compare_scores(workspace, base, tuned, 1.5, rules, Silent())
    assert comparison.verdict.verdict == "worse"
    with pytest.raises(GateFailed, match="arc_easy"):
        comparison.require_gate()
    compare_scores(workspace, tuned, base, 1.5, rules, Silent()).require_gate()


def test_scores_are_found_by_path_id_or_name(workspace: Workspace, tmp_path: Path) -> None:
    def build(draft: Draft) -> None:
        _scores(draft.path / "items.parquet", 5)

    made = workspace.make("scores", {"a": 1}, build, name="smollm")
    workspace.index.set_alias(latest_scores("smollm"), made.reference)
    expected = made.path / "items.parquet"
    for text in ("smollm", made.reference, str(made.path), str(expected)):
        assert find_scores(workspace, text) == expected
    with pytest.raises(Refusal, match="carrara evaluate other"):
        find_scores(workspace, "other")


def test_files_that_are_no_scores_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    good, bad = _scores(tmp_path / "good.parquet", 5), tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1 nonsense")
    with pytest.raises(Refusal, match="no score file"):
        compare_scores(workspace, good, bad, 1.5, (), Silent())
    with pytest.raises(Refusal, match="does not exist"):
        compare_scores(workspace, good, tmp_path / "none.parquet", 1.5, (), Silent())


def test_clusters_and_secondary_metrics_are_kept(workspace: Workspace, tmp_path: Path) -> None:
    """What is read back is what was judged."""

    def clustered(path: Path) -> Path:
        scores = read_scores(path)
        records = [replace(record, cluster=f"source {record.item // 4}") for record in scores.records]
        write_scores(path, replace(scores, records=records))
        return path

    base, tuned = (clustered(_scores(tmp_path / f"{name}.parquet", right)) for name, right in (("a", 80), ("b", 150)))
    comparison = compare_scores(workspace, base, tuned, 1.5, (), Silent())
    assert comparison.verdict == compare(read_scores(base), read_scores(tuned), 1.5)
    assert [(row.metric, row.primary, row.clusters) for row in comparison.verdict.verdicts] == [
        ("acc_norm", True, 50),
        ("acc", False, 50),
        ("gold_bits_per_byte", False, 50),
        ("gold_probability", False, 50),
    ]


def test_other_protocols_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    base, tuned = _scores(tmp_path / "base.parquet", 100), _scores(tmp_path / "tuned.parquet", 150)
    scores = read_scores(tuned)
    write_scores(tuned, replace(scores, receipt={**scores.receipt, "protocol": {"name": "leaderboard-2023-10"}}))
    with pytest.raises(Refusal, match="different protocols"):
        compare_scores(workspace, base, tuned, 1.5, (), Silent())
    assert workspace.list("verdict") == []
