"""The score on a part of the task: the same items for both, and a loss that chance explains is none."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from carrara.evaluate.blocks import Scorable
from carrara.evaluate.run import evaluate_model
from carrara.evaluate.scores import Record
from carrara.evaluate.sheet import Sheet
from carrara.export.checks.check import Check
from carrara.export.package import export_model
from carrara.export.sample import NOTHING, Sample, score_sample
from carrara.models import Model, resolve_model
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe
from carrara.verdict.measures import ACC, LOSS, Measure
from carrara.workspace import Draft, Workspace
from tests.export.llama import make_folder
from tests.tiny import prepared, write_arc_easy, write_pairs, write_tiny_adapter

RECORD = Record(
    task="arc_easy", item=0, id="q", question="?", choices=[], prompt_sha256="", value=2.0, tokens=1, bytes=1, seconds=0
)


def _check(
    monkeypatch: pytest.MonkeyPatch, measure: Measure, before: Sequence[Record], after: Sequence[Record]
) -> Check:
    """The check of items that were answered so by the scored model, and so by the export."""
    loaded: Any = SimpleNamespace(network=SimpleNamespace(config=SimpleNamespace(vocab_size=400)))
    exported: Any = SimpleNamespace()
    monkeypatch.setattr("carrara.export.sample._records", lambda of, *_: before if of is loaded else after)
    sheet = Sheet(lambda _: Scorable([], lambda _: RECORD), [True] * len(before), [])
    sample = Sample("arc_easy", lambda _: sheet, measure)
    (check,) = score_sample(iter([sample]), loaded, exported, "q4_0", Silent())
    return check


def _answered(right: int, count: int = 40) -> list[Record]:
    return [replace(RECORD, correct=place < right) for place in range(count)]


@pytest.mark.parametrize(("after", "value", "bound", "holds"), [
    (30, 0.0, 0.0, True),
    (34, -0.1, 0.1, True),  # better by four: no p is below .01
    (22, 0.2, 0.15, False),  # eight lost and none won: p = 2 / 2^8 = .008; seven lost and one won may be
    (26, 0.1, 0.1, True),
])  # fmt: skip
def test_flips_beyond_chance_are_refused(
    monkeypatch: pytest.MonkeyPatch, after: int, value: float, bound: float, holds: bool
) -> None:
    check = _check(monkeypatch, ACC, _answered(30), _answered(after))
    assert (check.name, check.holds) == ("task score on 40 items", holds)
    assert (check.value, check.bound) == (pytest.approx(value), pytest.approx(bound))
    assert check.holds or check.note.startswith("q4_0 changes the score on arc_easy by more than chance: 22 of 40")


def test_a_loss_may_grow_by_what_the_form_does(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [replace(RECORD, value=2.0) for _ in range(20)]
    little = [replace(RECORD, value=2.5 + 0.01 * (place % 2)) for place in range(20)]
    much = [replace(RECORD, value=3.5 + 0.01 * (place % 2)) for place in range(20)]
    check = _check(monkeypatch, LOSS, before, little)
    assert check.value == pytest.approx(0.505)
    assert 0.693 < check.bound < 0.71  # a perplexity of twice as much in q4_0, and a little chance
    assert check.holds
    assert not _check(monkeypatch, LOSS, before, much).holds


# ---- through the export ----


@pytest.fixture
def model(workspace: Workspace, tmp_path: Path) -> Model:
    base = make_folder(tmp_path / "base")
    adapter = write_tiny_adapter(base, tmp_path / "adapter", width=64, r=4, lora_alpha=8)
    return resolve_model(workspace, str(adapter), Silent())


def _passport(workspace: Workspace, model: Model, tmp_path: Path) -> dict[str, Any]:
    return export_model(workspace, model, "gguf", "f16", tmp_path / "out", Silent()).to_json()["passport"]


@pytest.mark.parametrize("count", [15, 9])
def test_items_that_were_scored_are_asked_again_where_they_are_enough(
    workspace: Workspace, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setenv("CARRARA_BENCHMARKS", str(write_arc_easy(tmp_path / "benchmarks", 20)))
    evaluate_model(workspace, model, EvaluateRecipe(tasks=("arc_easy",), limit=count), Silent())
    passport = _passport(workspace, model, tmp_path)
    if count < 12:  # of which all could be lost, and it might be chance
        assert (passport["holds"], passport["missing"]) == (True, [NOTHING])
        return
    assert (passport["holds"], passport["missing"]) == (True, [])
    assert passport["checks"][-1]["name"] == f"task score on {count} items"
    assert abs(passport["checks"][-1]["value"]) <= 1 / count


def test_rows_held_out_are_read_where_there_are_no_scores(workspace: Workspace, model: Model, tmp_path: Path) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl", 60))

    def fill(draft: Draft) -> None:
        assert model.adapter is not None
        shutil.copytree(model.adapter, draft.path, dirs_exist_ok=True)
        draft.summary.update(method="lora")

    run = workspace.make("run", {}, fill, name="run", inputs={"model": model.source, "dataset": dataset.artefact})
    passport = _passport(workspace, resolve_model(workspace, run.reference, Silent()), tmp_path)
    check = passport["checks"][-1]
    count = dataset.artefact.summary["splits"]["test"]
    assert (check["name"], check["holds"]) == (f"task score on {count} items", True)
    assert 0 < abs(check["value"]) < 0.01 < check["bound"]


def test_where_there_is_nothing_to_score_with_it_is_said(workspace: Workspace, model: Model, tmp_path: Path) -> None:
    passport = _passport(workspace, model, tmp_path)
    assert passport["missing"] == [NOTHING]
    assert not any(check["name"].startswith("task score") for check in passport["checks"])
