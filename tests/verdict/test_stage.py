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
from carrara.verdict.compare import compare, compare_several
from carrara.verdict.stage import compare_scores, compare_several_scores, find_scores, require_gates
from carrara.workspace import Draft, Workspace


def _scores(path: Path, right: int, n: int = 200) -> Path:
    blank = Record(
        task="arc_easy", item=0, id="q", question="Q?", choices=["a", "b"], prompt_sha256="h",
        loglikelihoods=[-1.0, -2.0], prediction=0, gold=0, correct=True, prediction_norm=0, correct_norm=True,
        value=1.0, gold_probability=0.7, gold_bits_per_byte=1.0, tokens=2, bytes=4, seconds=0.1,
    )  # fmt: skip
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


def test_several_tuned_models_are_kept_each_with_its_report(workspace: Workspace, tmp_path: Path) -> None:
    base, *tuned = (_scores(tmp_path / f"{right}.parquet", right) for right in (100, 106, 99))
    found = compare_several_scores(workspace, base, tuned, 1.5, (), Silent())
    assert [each.verdict for each in found] == compare_several(read_scores(base), [read_scores(path) for path in tuned])
    assert len({each.report for each in found}) == 2
    for each in found:
        assert "one of 2 tuned models on one base" in each.report.read_text(encoding="utf-8")
        assert "one of 2 tuned models on one base" in (each.report.parent / "README.md").read_text(encoding="utf-8")
    assert compare_several_scores(workspace, base, tuned[::-1], 1.5, (), Silent()) == found[::-1]
    assert len(workspace.list("verdict")) == 2
    alone = compare_scores(workspace, base, tuned[0], 1.5, (), Silent())
    assert alone.report not in {each.report for each in found}
    assert "tuned models on one base" not in alone.report.read_text(encoding="utf-8")
    assert (alone.verdict.verdict, found[0].verdict.verdict) == ("better", "no worse")


def test_every_tuned_model_must_meet_the_gate(workspace: Workspace, tmp_path: Path) -> None:
    base, *tuned = (_scores(tmp_path / f"{right}.parquet", right) for right in (100, 150, 90))
    rules = (GateRule(task="arc_easy", require="better"),)
    found = compare_several_scores(workspace, base, tuned, 1.5, rules, Silent())
    assert [each.gate[0].passed for each in found] == [True, False]
    require_gates(found[:1])
    with pytest.raises(GateFailed, match="the gate is not met: 90: arc_easy acc_norm must be better") as failed:
        require_gates(found)
    assert "150: " not in str(failed.value)


def test_scores_named_twice_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    base, tuned = _scores(tmp_path / "base.parquet", 100), _scores(tmp_path / "tuned.parquet", 150)
    with pytest.raises(Refusal, match=r"tuned\.parquet and .*tuned\.parquet are the same scores; name each"):
        compare_several_scores(workspace, base, [tuned, base, tuned], 1.5, (), Silent())
