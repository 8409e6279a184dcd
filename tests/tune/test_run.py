"""The stage: what a run records of itself, and what it does not begin with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carrara.data.dataset import Dataset
from carrara.data.render import plan
from carrara.errors import Refusal
from carrara.models import Model, model_of_run
from carrara.models.machine import inspect_machine
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe, Recipe, TuneRecipe
from carrara.tune import job, loop, run, state
from carrara.tune.distributed import World
from carrara.tune.job import Job, make_training
from carrara.tune.run import tune_model
from carrara.tune.truth.finding import CHECKS
from carrara.workspace import Workspace, store
from tests.tiny import prepared, write_pairs


@contextmanager
def _killed(module: Any, name: str) -> Iterator[None]:
    """Within it, calling the function of a module is a kill."""

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, kill)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Dataset:
    plain = PrepareRecipe(render="plain", test=0.1, validation=0.1)
    return prepared(workspace, write_pairs(tmp_path / "pairs.jsonl", 40), plain)


def _recipe(**keys: Any) -> Recipe:
    return Recipe(tune=TuneRecipe.model_validate({"rank": 2, "batch_size": 8, **keys}))


def test_a_run_holds_what_explains_it(workspace: Workspace, tiny_model: Model, dataset: Dataset) -> None:
    made = tune_model(workspace, tiny_model, dataset, _recipe(), Silent())
    files = {path.name for path in made.artefact.path.iterdir()}
    assert {"truth.json", "plan.json", "metrics.jsonl", "ledger.json", "recipe.json"} <= files
    assert "checkpoints" not in files
    truth = json.loads((made.artefact.path / "truth.json").read_text())
    assert not truth["allowed"]
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
        tune_model(workspace, tiny_model, dataset, _recipe(learning_rate=10.0), Silent())
    assert not workspace.list("run")


def test_a_run_that_goes_on_is_not_checked_again(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    check = run.check_truth
    monkeypatch.setattr(run, "check_truth", lambda *given: checked.append(1) or check(*given))
    with _killed(loop, "held_out_loss"):  # after the checkpoint of a step
        tune_model(workspace, tiny_model, dataset, _recipe(validate_every=3, checkpoint_minutes=0), Silent())
    tune_model(workspace, tiny_model, dataset, _recipe(validate_every=3), Silent())
    assert checked == [1]


def test_a_run_that_goes_on_is_settled_as_it_began(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What would be `auto` now, on a machine that has changed, would cut the passes otherwise."""
    recipe = _recipe(micro_batch_tokens="auto", dropout=0.1, validate_every=3, checkpoint_minutes=0)
    monkeypatch.setattr(job, "fitting_tokens", lambda *_: 100)
    whole = tune_model(Workspace(tmp_path / "other"), tiny_model, dataset, recipe, Silent()).artefact
    with _killed(loop, "held_out_loss"):
        tune_model(workspace, tiny_model, dataset, recipe, Silent())
    changed = replace(inspect_machine(), accelerator="a small one", accelerator_memory=1)
    monkeypatch.setattr(plan, "inspect_machine", lambda: changed)
    monkeypatch.setattr(job, "fitting_tokens", lambda *_: 4096)
    made = tune_model(workspace, tiny_model, dataset, recipe, Silent()).artefact
    saved = json.loads((made.path / "recipe.json").read_text())["tune"]
    assert (saved["micro_batch_tokens"], saved["batching"], saved["checkpoint_activations"]) == (100, "sorted", False)
    assert json.loads((made.path / "plan.json").read_text())["micro_batch_tokens"] == 100
    assert made.files["adapter_model.safetensors"] == whole.files["adapter_model.safetensors"]
    other = tune_model(Workspace(tmp_path / "changed"), tiny_model, dataset, recipe, Silent()).artefact
    assert other.files["adapter_model.safetensors"] != whole.files["adapter_model.safetensors"]


def test_a_kill_at_the_very_end_loses_no_step(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _killed(store, "digest_of_file"):
        tune_model(workspace, tiny_model, dataset, _recipe(), Silent())
    monkeypatch.setattr(loop, "take_step", lambda *_: pytest.fail("a step was taken again"))
    made = tune_model(workspace, tiny_model, dataset, _recipe(), Silent())
    (made.artefact.path / "checkpoints").mkdir(exist_ok=False)  # as a kill between move and removal would
    tune_model(workspace, tiny_model, dataset, _recipe(), Silent())
    assert not (made.artefact.path / "checkpoints").exists()
    assert made.artefact.summary["steps"] == len(made.curve) > 0


def test_the_peak_is_that_of_all_processes(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = _recipe(validate_every=3, checkpoint_minutes=0)
    monkeypatch.setattr(state, "peak_memory_mb", lambda: 1e6)
    with _killed(loop, "held_out_loss"):
        tune_model(workspace, tiny_model, dataset, recipe, Silent())
    monkeypatch.setattr(state, "peak_memory_mb", lambda: 2.0)
    assert tune_model(workspace, tiny_model, dataset, recipe, Silent()).ledger.peak_memory_mb == 1e6


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_rows_leave_room_for_virtual_tokens_once(
    workspace: Workspace, tiny_model: Model, tmp_path: Path, method: str
) -> None:
    rows = [{"prompt": f"{n} {'and on ' * 60}", "completion": "end"} for n in range(20)]
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    keys: dict[str, Any] = {"method": method, "virtual_tokens": 20, "learning_rate": 1e-3}
    dataset = prepared(workspace, tmp_path / "long.jsonl", PrepareRecipe(render="plain", test=0.1, validation=0.1))
    made = tune_model(workspace, tiny_model, dataset, _recipe(**keys, allow=tuple(CHECKS)), Silent())
    for model in (tiny_model, model_of_run(made.artefact, workspace)):
        folder = tmp_path / model.name.replace("/", "-")
        folder.mkdir()
        _, training = make_training(Job(model, dataset, _recipe(**keys), World(0, 1), folder, Silent()))
        assert {len(row.ids) for row in training.rows} == {256 - 20}


@pytest.mark.parametrize(
    "keys",
    [
        {"micro_batch_tokens": 64},
        {"micro_batch_tokens": "auto"},
        {"batching": "packed"},
        {"checkpoint_activations": True},
        {"checkpoint_minutes": 0},
        {"allow": ("clip",)},
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
    monkeypatch.setattr(loop, "held_out_loss", lambda *_: next(losses))
    recipe = _recipe(validate_every=1, patience=2, epochs=3)
    summary = tune_model(workspace, tiny_model, dataset, recipe, Silent()).artefact.summary
    assert summary["steps"] == 4
    assert summary["kept"]["step"] == 2
    assert summary["kept"]["why"] == (
        "the best held-out loss, 2.0000; stopped after 4 of 12 steps, as 2 held-out losses were no better"
    )


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"method": "prompt", "rank": 16, "virtual_tokens": 300}, "virtual tokens leave no room"),
        ({"patience": 1}, "tune.patience does nothing without held-out rows"),
    ],
)
def test_what_cannot_be_is_refused(
    keys: dict[str, Any], sentence: str, workspace: Workspace, tiny_model: Model, tmp_path: Path
) -> None:
    unsplit = PrepareRecipe(render="plain", test=0, validation=0)
    rows = prepared(workspace, write_pairs(tmp_path / "rows.jsonl", 30), unsplit)
    with pytest.raises(Refusal, match=sentence):
        tune_model(workspace, tiny_model, rows, _recipe(**keys), Silent())
