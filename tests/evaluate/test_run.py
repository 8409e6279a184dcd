"""The stage: scores are kept item by item, found again, gone on with, and never mixed between models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.errors import Refusal
from carrara.evaluate.run import evaluate_model
from carrara.evaluate.scorer import Scorer
from carrara.evaluate.scores import read_scores
from carrara.models import Model, model_of_run, resolve_model
from carrara.models.load import load_model
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe, PrepareRecipe, Recipe, TuneRecipe
from carrara.tune.run import tune_model
from carrara.workspace import Workspace
from tests.tiny import prepared, write_arc_easy, write_pairs, write_tiny_adapter, write_tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """150 invented questions in the form of ARC-Easy."""
    return write_arc_easy(tmp_path / "benchmarks", 150)


class _Heard(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


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
        assert a.loglikelihoods == b.loglikelihoods
        assert (a.prediction, a.prediction_norm) == (b.prediction, b.prediction_norm)


def test_a_killed_evaluation_goes_on(
    workspace: Workspace, tiny_model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = evaluate_model(workspace, tiny_model, _recipe(folder), Silent()).scores.records
    other = Workspace(tmp_path / "other")
    model = resolve_model(other, str(tiny_model.path), Silent())
    run, calls = Scorer._run, 0

    def killed(self: Scorer, *given: Any) -> list[list[float]]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return run(self, *given)

    monkeypatch.setattr(Scorer, "_run", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(other, model, _recipe(folder), Silent())
    heard = _Heard()
    resumed = evaluate_model(other, model, _recipe(folder), heard).scores.records
    assert [record.loglikelihoods for record in resumed] == [record.loglikelihoods for record in whole]
    assert any("of 150 items had been scored before" in sentence for sentence in heard.sentences)
    passes = calls - 1  # the killed one was run again
    evaluate_model(Workspace(tmp_path / "third"), model, _recipe(folder), Silent())
    assert calls - passes - 1 == passes  # as many as an evaluation that nothing stopped


def test_more_items_and_another_order_of_tasks_give_the_same_bits(
    workspace: Workspace, tiny_model: Model, folder: Path, tmp_path: Path
) -> None:
    """Also from scratch, without what is known."""
    few = evaluate_model(workspace, tiny_model, _recipe(folder, limit=10), Silent()).scores.records
    many = evaluate_model(workspace, tiny_model, _recipe(folder, limit=100), Silent()).scores.records
    whole = evaluate_model(Workspace(tmp_path / "anew"), tiny_model, _recipe(folder), Silent()).scores.records
    assert [record.loglikelihoods for record in few] == [record.loglikelihoods for record in whole[:10]]
    assert [record.loglikelihoods for record in many] == [record.loglikelihoods for record in whole[:100]]


def test_an_adapter_overwritten_in_place_is_scored_anew(
    workspace: Workspace, tiny_model: Model, folder: Path, tmp_path: Path
) -> None:
    place, found = tmp_path / "adapter", []
    for seed in (1, 2):
        write_tiny_adapter(tiny_model.path, place, seed=seed)
        model = resolve_model(workspace, str(place), Silent())
        found.append(evaluate_model(workspace, model, _recipe(folder, limit=4), Silent()).scores.records)
    assert all(a.loglikelihoods != b.loglikelihoods for a, b in zip(*found, strict=True))
    model = resolve_model(workspace, str(place), Silent())
    write_tiny_adapter(tiny_model.path, place, seed=3)
    with pytest.raises(Refusal, match="was overwritten while it was read"):
        evaluate_model(workspace, model, _recipe(folder, limit=8), Silent())


def test_a_task_that_cannot_be_scored_does_not_cost_the_others(
    workspace: Workspace, tiny_model: Model, folder: Path
) -> None:
    hard = folder / "arc" / "ARC-Challenge" / "test.jsonl"
    hard.parent.mkdir()
    row = {"id": "q", "question": "?", "choices": {"text": ["a", "b" * 999], "label": ["A", "B"]}, "answerKey": "A"}
    hard.write_text(json.dumps(row) + "\n")
    recipe = _recipe(folder, "arc_challenge", "arc_easy", limit=3)
    evaluation = evaluate_model(workspace, tiny_model, recipe, Silent())
    assert evaluation.scores.tasks() == ["arc_easy"]
    assert "arc_challenge, item 0: an answer is longer" in evaluation.missing["arc_challenge"]


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
        workspace, tiny_model, _recipe(folder, "arc_easy", "hellaswag", "heldout", limit=4), Silent()
    )
    assert evaluation.scores.tasks() == ["arc_easy"]
    assert "hellaswag_val.jsonl; put the file there" in evaluation.missing["hellaswag"]
    assert "--data" in evaluation.missing["heldout"]
    with pytest.raises(Refusal, match="no task 'nonsense'; known are"):
        evaluate_model(workspace, tiny_model, _recipe(folder, "arc_easy", "nonsense"), Silent())
    with pytest.raises(Refusal, match="nothing can be evaluated"):
        evaluate_model(workspace, tiny_model, _recipe(folder, "hellaswag"), Silent())


def test_a_damaged_benchmark_file_is_named(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    (folder / "arc/ARC-Easy/test.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(Refusal, match=r"test\.jsonl is not in the form"):
        evaluate_model(workspace, tiny_model, _recipe(folder), Silent())


def test_heldout_measures_the_test_split(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "p.jsonl", 80), PrepareRecipe(test=0.3, render="plain"))
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
    dataset = prepared(workspace, path, PrepareRecipe(test=0, validation=0, render="plain"))
    evaluation = evaluate_model(workspace, tiny_model, _recipe(folder, limit=20), Silent(), not_near=dataset)
    assert [record.item for record in evaluation.scores.records] == list(range(10, 30))
    assert evaluation.scores.receipt["tasks"]["arc_easy"]["near_copies_skipped"] == 10


def test_a_task_named_twice_is_scored_once(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    evaluation = evaluate_model(workspace, tiny_model, _recipe(folder, "arc_easy", "arc_easy", limit=5), Silent())
    assert len(evaluation.scores.records) == 5


def test_the_rendering_of_held_out_rows_is_part_of_the_scores(
    workspace: Workspace, tiny_model: Model, tmp_path: Path
) -> None:
    path = write_pairs(tmp_path / "p.jsonl", 60)
    found = []
    for render in ("chat", "plain"):
        recipe = PrepareRecipe.model_validate({"test": 0.3, "render": render})
        dataset = prepared(workspace, path, recipe)
        scored = evaluate_model(workspace, tiny_model, EvaluateRecipe(tasks=("heldout",)), Silent(), heldout=dataset)
        found.append((scored.artefact.id, scored.figures[0].value))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


def test_numbers_that_are_none_are_refused(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = write_tiny_model(tmp_path / "broken")
    weights = load_file(place / "model.safetensors")
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refusal, match=r"arc_easy, item 0: .* is no number"):
        evaluate_model(workspace, resolve_model(workspace, str(place), Silent()), _recipe(folder, limit=3), Silent())


def test_rows_that_a_run_learned_are_not_held_out(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "p.jsonl", 60)
    learned = prepared(workspace, path, PrepareRecipe(test=0.1))
    other = prepared(workspace, path, PrepareRecipe(test=0.5))
    run = tune_model(workspace, tiny_model, learned, Recipe(tune=TuneRecipe(epochs=0.1, allow=("steps",))), Silent())
    model = model_of_run(run.artefact, workspace)
    recipe = EvaluateRecipe(tasks=("heldout",))
    assert evaluate_model(workspace, model, recipe, Silent(), heldout=learned).figures
    with pytest.raises(Refusal, match="were trained on by run/"):
        evaluate_model(workspace, model, recipe, Silent(), heldout=other)


def test_questions_of_a_subject_share_its_examples_in_one_pass(
    workspace: Workspace, tiny_model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands before each question of a subject is read once, though the subjects take turns."""
    for split, count in (("test", 12), ("dev", 3)):
        rows = [
            {
                "question": f"{subject} {n} {split}?",
                "subject": subject,
                "choices": ["a", "b", "c", "d"],
                "answer": n % 4,
            }
            for subject in ("art", "law")
            for n in range(count)
        ]
        path = folder / "mmlu" / f"{split}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read: list[int] = []
    opening = Scorer._opening

    def counted(self: Scorer, start: tuple[int, ...]) -> Any:
        read.append(len(start))
        return opening(self, start)

    monkeypatch.setattr(Scorer, "_opening", counted)
    recipe = EvaluateRecipe(tasks=("mmlu",), benchmarks=folder, shots=1, limit=10)
    scores = evaluate_model(workspace, tiny_model, recipe, Silent()).scores
    assert [record.category for record in scores.records] == ["art", "law"] * 5
    assert scores.receipt["tasks"]["mmlu"]["shot_rule"] == "first_of_category"
    assert read
    assert all(count > 100 for count in read)  # description and example, a token a letter


def test_what_fills_a_gap_is_read_and_the_rest_is_scored(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    path = folder / "winogrande" / "validation.jsonl"
    path.parent.mkdir()
    row = {"sentence": "The cup hit the jar and _ broke.", "option1": "cup", "option2": "the jar", "answer": "2"}
    path.write_text(json.dumps(row) + "\n")
    recipe = EvaluateRecipe(tasks=("winogrande",), benchmarks=folder)
    (record,) = evaluate_model(workspace, tiny_model, recipe, Silent()).scores.records
    loaded = load_model(tiny_model, "float32")
    for option, found in zip(("cup", "the jar"), record.loglikelihoods, strict=True):
        read, scored = (loaded.tokenizer.encode(text) for text in (f"The cup hit the jar and {option}", " broke."))
        with torch.inference_mode():
            logits = loaded.network(input_ids=torch.tensor([read + scored])).logits[0].log_softmax(-1)
        expected = sum(float(logits[len(read) - 1 + n, token]) for n, token in enumerate(scored))
        assert found == pytest.approx(expected, abs=1e-3)
    assert record.gold == 1
