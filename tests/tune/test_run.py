"""The stage: what a run records of itself, and what it does not begin with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.models import Model
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe, Recipe, TuneRecipe
from carrara.tune import loop, run
from carrara.tune.run import tune_model
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs

RANDOM = ("guessing", "untrained-tokens", "steps")  # what is wrong with a random tiny model


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Dataset:
    plain = PrepareRecipe(render="plain", test=0.1, validation=0.1)
    return prepared(workspace, write_pairs(tmp_path / "pairs.jsonl", 40), plain)


def _recipe(**keys: Any) -> Recipe:
    return Recipe(tune=TuneRecipe.model_validate({"rank": 2, "batch_size": 8, "allow": RANDOM, **keys}))


def test_a_run_holds_what_explains_it(workspace: Workspace, tiny_model: Model, dataset: Dataset) -> None:
    made = tune_model(workspace, tiny_model, dataset, _recipe(), Silent())
    files = {path.name for path in made.artefact.path.iterdir()}
    assert {"truth.json", "plan.json", "metrics.jsonl", "ledger.json", "recipe.json"} <= files
    assert "checkpoints" not in files
    truth = json.loads((made.artefact.path / "truth.json").read_text())
    assert {finding["check"] for finding in truth["allowed"]} <= set(RANDOM)
    assert not truth["findings"]
    saved = json.loads((made.artefact.path / "recipe.json").read_text())["tune"]
    assert (saved["batching"], saved["checkpoint_activations"]) == ("sorted", False)
    assert saved["dtype"] != "auto"
    assert [point["step"] for point in made.curve] == list(range(1, made.artefact.summary["steps"] + 1))
    assert made.ledger.tokens == sum(point["tokens"] for point in made.curve)
    assert made.ledger.validation_seconds > 0


def test_what_is_wrong_is_refused_before_the_first_step(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begun(*_: Any) -> None:
        raise AssertionError("a step was taken")

    monkeypatch.setattr(loop, "take_step", begun)
    with pytest.raises(Refusal, match="--allow learning-rate"):
        tune_model(workspace, tiny_model, dataset, _recipe(allow=(), learning_rate=10.0), Silent())
    assert not workspace.list("run")


def test_a_run_that_goes_on_is_not_checked_again(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    checked = []
    check = run.check_truth
    monkeypatch.setattr(run, "check_truth", lambda *given: checked.append(1) or check(*given))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "mean_loss", interrupted)  # after the checkpoint of a step
        with pytest.raises(KeyboardInterrupt):
            tune_model(workspace, tiny_model, dataset, _recipe(validate_every=3, checkpoint_minutes=0), Silent())
    tune_model(workspace, tiny_model, dataset, _recipe(validate_every=3), Silent())
    assert checked == [1]


@pytest.mark.parametrize(
    "keys",
    [
        {"micro_batch_tokens": 64},
        {"micro_batch_tokens": "auto"},
        {"batching": "packed"},
        {"checkpoint_activations": True},
        {"checkpoint_minutes": 0},
        {"allow": (*RANDOM, "clip")},
    ],
)
def test_what_only_moves_speed_and_memory_makes_the_same_run(
    keys: dict[str, Any], workspace: Workspace, tiny_model: Model, dataset: Dataset
) -> None:
    assert run._determining(_recipe(**keys)) == run._determining(_recipe())


def test_the_step_that_is_kept_is_told(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.5])
    monkeypatch.setattr(loop, "mean_loss", lambda *_: next(losses))
    recipe = _recipe(validate_every=1, patience=2, epochs=3)
    summary = tune_model(workspace, tiny_model, dataset, recipe, Silent()).artefact.summary
    assert summary["steps"] == 4
    assert summary["kept"]["step"] == 2
    assert summary["kept"]["why"] == (
        "the best held-out loss, 2.0000; stopped after 4 of 12 steps, as 2 held-out losses were no better"
    )
