"""The stage: scores are kept item by item, found again, gone on with, and never mixed between models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carrara.data.dataset import prepare_dataset
from carrara.errors import Refusal
from carrara.evaluate import run as evaluate_run
from carrara.evaluate.run import evaluate_model
from carrara.evaluate.scores import read_scores
from carrara.models import Model, resolve_model
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe, PrepareRecipe
from carrara.workspace import Workspace
from tests.tiny import write_pairs, write_tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """150 invented questions in the form of ARC-Easy."""
    path = tmp_path / "benchmarks" / "arc" / "ARC-Easy" / "test.jsonl"
    path.parent.mkdir(parents=True)
    rows = [
        {
            "id": f"q{n}",
            "question": f"What is {n}?",
            "choices": {"text": [f"n{n}", "none of them", "x"], "label": ["1", "2", "3"]},
            "answerKey": str(n % 3 + 1),
        }
        for n in range(150)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "benchmarks"


def _recipe(folder: Path, *tasks: str, limit: int | None = None) -> EvaluateRecipe:
    return EvaluateRecipe(tasks=tasks or ("arc_easy",), benchmarks=folder, limit=limit)


def test_every_item_has_its_row(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    evaluation = evaluate_model(workspace, tiny_model, _recipe(folder), Silent())
    records = read_scores(evaluation.path).records
    assert [record.item for record in records] == list(range(150))
    assert [record.gold for record in records] == [n % 3 for n in range(150)]
    assert all(len(record.loglikelihoods) == 3 for record in records)
    assert all(record.correct == (record.prediction == record.gold) for record in records)
    accuracy = sum(bool(record.correct) for record in records) / 150
    assert evaluation.figures[0].value == pytest.approx(accuracy)


def test_a_limit_takes_a_prefix_of_the_same_numbers(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    whole = evaluate_model(workspace, tiny_model, _recipe(folder), Silent()).scores.records
    some = evaluate_model(workspace, tiny_model, _recipe(folder, limit=70), Silent()).scores.records
    assert len(some) == 70
    for a, b in zip(some, whole[:70], strict=True):
        assert a.loglikelihoods == pytest.approx(b.loglikelihoods, abs=1e-4)
        assert (a.prediction, a.prediction_norm) == (b.prediction, b.prediction_norm)


def test_a_killed_evaluation_goes_on(
    workspace: Workspace, tiny_model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = evaluate_model(workspace, tiny_model, _recipe(folder), Silent()).scores.records
    other = Workspace(tmp_path / "other")
    model = resolve_model(other, str(tiny_model.path), Silent())
    calls = 0
    score_rows = evaluate_run.score_rows

    def killed(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return score_rows(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate_run, "score_rows", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(other, model, _recipe(folder), Silent())
    (kept,) = (other.root / "work" / "scores").glob("*/arc_easy.jsonl")
    kept.write_text(kept.read_text() + kept.read_text().splitlines()[0] + '\n{"task": "to')  # a torn chunk
    resumed = evaluate_model(other, model, _recipe(folder), Silent()).scores.records
    assert calls == 4  # one chunk before the kill, the killed one, and the two that were missing
    assert [r.loglikelihoods for r in resumed] == [r.loglikelihoods for r in whole]


def test_other_weights_at_the_same_place_are_another_model(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    place = write_tiny_model(tmp_path / "place", seed=1)
    recipe = _recipe(folder, limit=8)
    first = evaluate_model(workspace, resolve_model(workspace, str(place), Silent()), recipe, Silent())
    write_tiny_model(place, seed=2)
    second = evaluate_model(workspace, resolve_model(workspace, str(place), Silent()), recipe, Silent())
    assert first.artefact.id != second.artefact.id
    assert first.scores.records[0].loglikelihoods != second.scores.records[0].loglikelihoods


def test_what_cannot_be_had_is_said_and_the_rest_goes_on(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    evaluation = evaluate_model(
        workspace, tiny_model, _recipe(folder, "arc_easy", "hellaswag", "heldout", "nonsense", limit=4), Silent()
    )
    assert evaluation.scores.tasks() == ["arc_easy"]
    assert "hellaswag_val.jsonl; put the file there" in evaluation.missing["hellaswag"]
    assert "--data" in evaluation.missing["heldout"]
    assert "known are" in evaluation.missing["nonsense"]
    with pytest.raises(Refusal, match="nothing can be evaluated"):
        evaluate_model(workspace, tiny_model, _recipe(folder, "hellaswag"), Silent())


def test_a_damaged_benchmark_file_is_named(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    (folder / "arc/ARC-Easy/test.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(Refusal, match=r"test\.jsonl is not in the form"):
        evaluate_model(workspace, tiny_model, _recipe(folder), Silent())


def test_heldout_measures_the_test_split(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    dataset = prepare_dataset(
        workspace, str(write_pairs(tmp_path / "p.jsonl", 80)), PrepareRecipe(test=0.3, render="plain"), Silent()
    )
    evaluation = evaluate_model(workspace, tiny_model, EvaluateRecipe(tasks=("heldout",)), Silent(), heldout=dataset)
    records = evaluation.scores.records
    assert len(records) == dataset.artefact.summary["splits"]["test"]
    loss = sum(r.value for r in records) / sum(r.tokens for r in records)
    assert {f.metric: f.value for f in evaluation.figures}["loss"] == pytest.approx(loss)
    assert all(r.tokens == len(r.choices[0]) + 1 for r in records)  # one token a byte, and the end


def test_near_copies_of_training_rows_are_not_asked(
    workspace: Workspace, tiny_model: Model, folder: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"Question: What is {n}?\nAnswer:", "completion": "n"} for n in range(10)]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = prepare_dataset(workspace, str(path), PrepareRecipe(test=0, validation=0, render="plain"), Silent())
    evaluation = evaluate_model(workspace, tiny_model, _recipe(folder, limit=20), Silent(), not_near=dataset)
    assert [record.item for record in evaluation.scores.records] == list(range(10, 30))
    assert evaluation.scores.receipt["tasks"]["arc_easy"]["near_copies_skipped"] == 10
