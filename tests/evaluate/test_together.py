"""Several models in one process: the same scores as alone, with less work, and what one cannot do costs no other."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from carrara.errors import Refusal
from carrara.evaluate import run, sheet, wanted
from carrara.evaluate.run import Evaluation, evaluate_model, evaluate_models, latest_scores
from carrara.evaluate.scorer import Scorer
from carrara.evaluate.scores import Record
from carrara.models import Model, adapters, resolve_model
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe, PrepareRecipe
from carrara.workspace import Workspace
from tests.cli.calling import write_questions
from tests.tiny import prepared, write_pairs, write_tiny_adapter, write_tiny_model


class _Heard(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """150 invented questions in the form of ARC-Easy."""
    return write_questions(tmp_path / "benchmarks", 150)


@pytest.fixture
def models(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> list[Model]:
    """A base and two adapters on it."""
    places = [write_tiny_adapter(tiny_model.path, tmp_path / f"adapter-{seed}", seed=seed) for seed in (1, 2)]
    return [tiny_model, *(resolve_model(workspace, str(place), Silent()) for place in places)]


def _recipe(folder: Path, *tasks: str, limit: int | None = 20) -> EvaluateRecipe:
    return EvaluateRecipe(tasks=tasks or ("arc_easy",), benchmarks=folder, limit=limit)


def _records(evaluation: Evaluation) -> list[Record]:
    return [replace(record, seconds=0.0) for record in evaluation.scores.records]


def _made(evaluation: Evaluation) -> tuple[str, str]:
    return evaluation.artefact.id, evaluation.artefact.created


def _passes(workspace: Workspace) -> set[str]:
    with sqlite3.connect(workspace.root / "known-scores.sqlite") as known:
        return {name for (name,) in known.execute("SELECT name FROM pass")}


def _counting(monkeypatch: pytest.MonkeyPatch, place: Any, name: str) -> list[Any]:
    """The first arguments of all calls of a function from now on."""
    calls: list[Any] = []
    function: Callable[..., Any] = getattr(place, name)

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(given[0])
        return function(*given, **named)

    monkeypatch.setattr(place, name, counted)
    return calls


def test_each_model_gets_exactly_what_it_gets_alone(
    workspace: Workspace, models: list[Model], folder: Path, tmp_path: Path
) -> None:
    """Identity, receipt, every bit of every record, figures, and the names under which passes are known."""
    dataset = prepared(workspace, write_pairs(tmp_path / "p.jsonl", 40), PrepareRecipe(test=0.3, render="plain"))
    recipe = _recipe(folder, "arc_easy", "heldout", limit=100)
    together = evaluate_models(workspace, models, recipe, Silent(), heldout=dataset)
    passes: set[str] = set()
    for number, (model, found) in enumerate(zip(models, together, strict=True)):
        other = Workspace(tmp_path / f"alone-{number}")
        alone = evaluate_model(other, model, recipe, Silent(), heldout=dataset)
        assert found.model == model.name
        assert found.artefact.reference == alone.artefact.reference
        assert found.scores.receipt == alone.scores.receipt
        assert len(_records(found)) == 100 + dataset.artefact.summary["splits"]["test"]
        assert _records(found) == _records(alone)
        told = [[(each.task, each.metric, each.value, each.n) for each in one.figures] for one in (found, alone)]
        assert told[0] == told[1]
        passes |= _passes(other)
    assert _passes(workspace) == passes
    base = workspace.index.alias(latest_scores(models[0].source.reference))  # which is the source of its adapters, too
    assert base == together[0].artefact.reference
    first = [evaluation.scores.records[0].loglikelihoods for evaluation in together]
    assert first[0] != first[1] != first[2] != first[0]


def test_tasks_are_read_and_encoded_and_the_base_is_loaded_once(
    workspace: Workspace, models: list[Model], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "p.jsonl", 40), PrepareRecipe(test=0.3, render="plain"))
    places = (
        (adapters, "load_any"),
        (wanted, "ask"),
        (sheet, "context_and_continuations"),
        (sheet, "heldout_rows"),
    )
    calls = [_counting(monkeypatch, *place) for place in places]
    recipe = _recipe(folder, "arc_easy", "heldout")
    evaluate_models(Workspace(tmp_path / "one"), models[:1], recipe, Silent(), heldout=dataset)
    once = [len(each) for each in calls]
    assert once == [1, 1, 64, 1]  # all of the first block is encoded, whatever is wanted of it
    evaluate_models(workspace, models, recipe, Silent(), heldout=dataset)
    assert [len(each) for each in calls] == [2 * count for count in once]


def test_scores_that_stand_are_not_computed_again(
    workspace: Workspace, models: list[Model], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = _counting(monkeypatch, run, "load_together")
    first = evaluate_models(workspace, models[:2], _recipe(folder), Silent())
    every = evaluate_models(workspace, models, _recipe(folder), Silent())
    assert [_made(each) for each in every[:2]] == [_made(each) for each in first]
    assert loaded == [models[:2], models[2:]]
    again = evaluate_models(workspace, models[::-1], _recipe(folder), Silent())
    assert [_made(each) for each in again[::-1]] == [_made(each) for each in every]
    assert len(loaded) == 2


def test_a_killed_evaluation_goes_on(
    workspace: Workspace, models: list[Model], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, scored, calls = _recipe(folder, limit=None), Scorer._run, 0
    whole = evaluate_models(Workspace(tmp_path / "whole"), models, recipe, Silent())

    def killed(self: Scorer, *given: Any) -> list[list[float]]:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return scored(self, *given)

    monkeypatch.setattr(Scorer, "_run", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_models(workspace, models, recipe, Silent())
    resumed = evaluate_models(workspace, models, recipe, Silent())
    assert [_records(each) for each in resumed] == [_records(each) for each in whole]
    assert calls - 1 == len(_passes(workspace))  # none twice but the killed one


def test_a_task_that_one_cannot_do_is_left_out_for_that_one(
    workspace: Workspace, models: list[Model], folder: Path, tmp_path: Path
) -> None:
    hard = folder / "arc" / "ARC-Challenge" / "test.jsonl"
    hard.parent.mkdir()
    row = {"id": "q", "question": "?", "choices": {"text": ["a", "b" * 600], "label": ["A", "B"]}, "answerKey": "A"}
    hard.write_text(json.dumps(row) + "\n")
    place = write_tiny_model(tmp_path / "wide", seed=3, context=1024)
    wide = resolve_model(workspace, str(place), Silent())
    recipe, heard = _recipe(folder, "arc_challenge", "arc_easy"), _Heard()
    found = evaluate_models(workspace, [models[1], wide, models[0]], recipe, heard)
    assert [each.scores.tasks() for each in found] == [["arc_easy"], ["arc_challenge", "arc_easy"], ["arc_easy"]]
    assert [list(each.missing) for each in found] == [["arc_challenge"], [], ["arc_challenge"]]
    assert f"{models[0].name}: arc_challenge is left out: arc_challenge, item 0: an answer is longer" in "\n".join(
        heard.sentences
    )
    alone = evaluate_model(Workspace(tmp_path / "alone"), models[1], recipe, Silent())
    assert (found[0].artefact.id, _records(found[0])) == (alone.artefact.id, _records(alone))


def test_held_out_rows_that_one_was_trained_on_are_left_out_for_that_one(
    workspace: Workspace, models: list[Model], folder: Path, tmp_path: Path
) -> None:
    path = write_pairs(tmp_path / "p.jsonl", 60)
    learned, held = (prepared(workspace, path, PrepareRecipe(test=share, render="plain")) for share in (0.1, 0.5))
    source = replace(models[1].source, kind="run", inputs={"dataset": learned.artefact.reference})
    tuned = replace(models[1], source=source)
    recipe = _recipe(folder, "arc_easy", "heldout")
    found = evaluate_models(workspace, [models[0], tuned], recipe, Silent(), heldout=held)
    assert [each.scores.tasks() for each in found] == [["arc_easy", "heldout"], ["arc_easy"]]
    assert "were trained on by" in found[1].missing["heldout"]


def test_a_model_that_can_do_nothing_costs_no_other(
    workspace: Workspace, models: list[Model], folder: Path, tmp_path: Path
) -> None:
    place = write_tiny_adapter(models[0].path, tmp_path / "broken", seed=4)
    weights = load_file(place / "adapter_model.safetensors")
    weights = {name: weight * float("nan") for name, weight in weights.items()}
    save_file(weights, place / "adapter_model.safetensors", metadata={"format": "pt"})
    broken, heard = resolve_model(workspace, str(place), Silent()), _Heard()
    found = evaluate_models(workspace, [broken, *models], _recipe(folder), heard)
    assert [each.model for each in found] == [model.name for model in models]
    assert any(sentence.startswith(f"{place}: nothing can be evaluated; arc_easy") for sentence in heard.sentences)
    alone = evaluate_model(Workspace(tmp_path / "alone"), models[0], _recipe(folder), Silent())
    assert _records(found[0]) == _records(alone)
    with pytest.raises(Refusal, match=r"nothing can be evaluated; arc_easy, item 0: .* is no number"):
        evaluate_models(workspace, [broken], _recipe(folder), Silent())


def test_another_tokenizer_is_encoded_apart(
    workspace: Workspace, models: list[Model], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = write_tiny_adapter(models[0].path, tmp_path / "own", seed=1)
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(models[0].path / name, place / name)
    fields = json.loads((models[0].path / "tokenizer.json").read_text()) | {"normalizer": {"type": "Lowercase"}}
    (place / "tokenizer.json").write_text(json.dumps(fields))
    own = resolve_model(workspace, str(place), Silent())
    encoded = _counting(monkeypatch, sheet, "context_and_continuations")
    found = evaluate_models(workspace, [*models, own], _recipe(folder), Silent())
    assert len(encoded) == 2 * 64
    alone = evaluate_model(Workspace(tmp_path / "alone"), own, _recipe(folder), Silent())
    assert (found[3].artefact.id, _records(found[3])) == (alone.artefact.id, _records(alone))
    assert found[3].scores.records[0].loglikelihoods != found[1].scores.records[0].loglikelihoods  # the same weights


def test_a_model_named_twice_is_refused(
    workspace: Workspace, models: list[Model], folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match="are the same model; name it once"):
        evaluate_models(workspace, [models[0], models[0]], _recipe(folder), Silent())
    place = shutil.copytree(models[1].adapter or "", tmp_path / "copy")
    copied = resolve_model(workspace, str(place), Silent())
    with pytest.raises(Refusal, match=rf"'{models[1].name}' and '{copied.name}' are the same model"):
        evaluate_models(workspace, [*models, copied], _recipe(folder), Silent())


def test_an_adapter_of_another_base_is_refused_by_name(
    workspace: Workspace, models: list[Model], folder: Path, tmp_path: Path
) -> None:
    place = write_tiny_adapter(models[0].path, tmp_path / "foreign", layers=1)
    foreign = resolve_model(workspace, str(place), Silent())
    with pytest.raises(Refusal, match=r"the adapter .*foreign does not fit"):
        evaluate_models(workspace, [*models, foreign], _recipe(folder), Silent())
    assert workspace.list("scores") == []
