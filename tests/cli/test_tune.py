"""`carrara tune` as it is typed: what its options mean, what it tells, and what it refuses before it begins."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from carrara.cli.wanted import read_wanted
from carrara.recipe import read_recipe
from carrara.tune import run, trackers
from tests.cli.calling import Result, call
from tests.tiny import write_pairs

TUNE = {
    "epochs": 2, "batch_size": 16, "rank": 4, "dtype": "float32", "validate_every": 2, "learning_rate": 1e-3,
}  # fmt: skip


@dataclass(frozen=True)
class Ground:
    """A folder with a recipe for a tiny model, and what tuning it first told."""

    workspace: Path
    model: Path
    recipe: Path
    first: dict[str, Any]

    def tune(self, *options: str | Path) -> Result:
        return call(self.workspace, "tune", self.recipe, *options)


@pytest.fixture(scope="module")
def ground(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("tune")
    write_pairs(folder / "pairs.jsonl", 60)
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"model": str(tiny_folder), "data": "pairs.jsonl", "tune": TUNE}))
    workspace = folder / "workspace"
    return Ground(workspace, tiny_folder, recipe, call(workspace, "tune", recipe, "--json").json)


def test_it_tells_the_losses_the_step_kept_and_what_it_was_made_from(ground: Ground) -> None:
    told = ground.first
    points = [json.loads(line) for line in (Path(told["path"]) / "metrics.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == list(range(1, told["steps"] + 1))
    assert told["loss"] == {"first": points[0]["loss"], "last": points[-1]["loss"]}
    held_out = {point["step"]: point["validation_loss"] for point in points if "validation_loss" in point}
    assert list(held_out) == list(range(2, told["steps"] + 1, 2))
    assert told["validation_loss"] == {
        "first": held_out[2],
        "last": held_out[told["steps"]],
        "kept": held_out[told["kept"]["step"]],
    }
    assert held_out[told["kept"]["step"]] == min(held_out.values())
    assert [reference.split("/")[0] for reference in told["from"]] == ["model"]
    assert set(told["planned"]) == {"seconds", "memory", "energy_wh", "money"}
    assert told["planned"]["seconds"]["was"] >= told["seconds"]


def test_a_person_is_told_what_comes_next(ground: Ground) -> None:
    out = ground.tune().out
    run = ground.first["run"]
    assert f"evaluate  carrara evaluate {run}\n" in out
    assert f"compare   carrara compare {ground.model} {run}" in out
    assert f"chat      carrara chat {run}\n" in out
    assert "\nfrom" not in out


def test_from_moves_on_from_a_run_and_the_lineage_shows_it(ground: Ground) -> None:
    told = ground.tune("--from", ground.first["run"], "--json").json
    assert told["run"] != ground.first["run"]
    assert told["from"] == [ground.first["run"], *ground.first["from"]]
    assert told["loss"]["first"] < ground.first["loss"]["first"]
    assert (
        f"from      {ground.first['run']} ← {ground.first['from'][0]}\n"
        in ground.tune("--from", ground.first["path"]).out
    )
    listed = call(ground.workspace, "runs", "run").out.splitlines()
    place = next(number for number, line in enumerate(listed) if line.startswith(ground.first["run"]))
    assert listed[place + 1].startswith(f"  {told['run']}")
    by_id = {each["id"]: each for each in call(ground.workspace, "runs", "run", "--json").json["artefacts"]}
    assert by_id[told["run"]]["inputs"]["model"] == ground.first["run"]


@pytest.mark.parametrize("batch", ["auto", "64"])
def test_batch_moves_the_memory_and_not_the_run(ground: Ground, batch: str) -> None:
    assert ground.tune("--batch", batch, "--json").json == ground.first


def test_what_is_allowed_is_recorded(ground: Ground) -> None:
    options = ["--allow", "steps", "--allow", "few-rows", "--method", "ia3", "--batch", "auto"]
    told = ground.tune(*options, "--json").json
    assert told["method"] == "ia3"
    recipe = json.loads((Path(told["path"]) / "recipe.json").read_text())
    assert recipe["tune"]["allow"] == ["steps", "few-rows"]
    assert recipe["tune"]["micro_batch_tokens"] > 0  # the most that fit


def test_lists_add_to_those_of_the_recipe_and_values_replace_them(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"tune": {"rank": 4, "allow": ["steps"], "track": ["wandb"]}}))
    wanted = read_wanted(recipe, None, None, None, rank=8, allow=["few-rows"], track=["mlflow", "trackio"]).tune
    assert (wanted.rank, wanted.allow) == (8, ("steps", "few-rows"))
    assert wanted.track == ("wandb", "mlflow", "trackio")
    for nothing in (None, []):
        assert read_wanted(recipe, None, None, None, rank=None, allow=nothing, track=nothing) == read_recipe(recipe)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--from", "run/abc", "--model", "x"], "--from and --model both name where to begin"),
        (["--from", "run/nothing"], "'run/nothing' is no artefact"),
        (["--batch", "many"], "key 'tune.micro_batch_tokens"),
        (["--batch", "0"], "key 'tune.micro_batch_tokens"),
        (["--allow", "magic"], "tune.allow: there is no check 'magic'"),
        (["--track", "excel"], "key 'tune.track.0'"),
        (["--method", "magic"], "key 'tune.method'"),
    ],
)
def test_what_makes_no_sense_is_refused(ground: Ground, options: list[str], sentence: str) -> None:
    result = ground.tune(*options)
    assert result.code == 2
    assert sentence in result.sentence


@pytest.mark.parametrize("other", ["dataset/0123456789abcdef", "hub:org/name", "smollm2-135m", ""])
def test_from_takes_runs_alone(ground: Ground, other: str) -> None:
    result = ground.tune("--from", other or ground.model)
    assert result.code == 2
    assert "is no run of this workspace" in result.sentence


def test_a_run_that_diverges_exits_1(ground: Ground) -> None:
    recipe = ground.recipe.with_name("wild.yaml")
    wild = {**TUNE, "method": "full", "learning_rate": 10, "batch_size": 4, "epochs": 4}
    recipe.write_text(yaml.safe_dump({"model": str(ground.model), "data": "pairs.jsonl", "tune": wild}))
    result = call(ground.workspace, "tune", recipe, "--allow", "learning-rate")
    assert result.code == 1
    assert "training stopped at step " in result.sentence


def test_what_is_to_be_typed_after_ctrl_c_does_not_begin_anew(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "tune_model", pressed)
    result = ground.tune("--no-resume", "--json")
    assert result.code == 130
    assert "without --no-resume it goes on from there" in result.err
    assert result.sentence.endswith(f"to go on where it was: carrara tune {ground.recipe} --json")


def test_a_tracker_that_is_missing_is_refused_before_anything_is_made(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    write_pairs(tmp_path / "pairs.jsonl")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"model": str(tiny_folder), "data": "pairs.jsonl"}))
    result = call(tmp_path / "workspace", "tune", recipe, "--track", "wandb")
    assert result.code == 2
    assert "pip install 'carrara[wandb]'" in result.sentence
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize("method", ["lora", "prompt"])
def test_a_tracker_gets_the_curves_of_a_run_that_stands_and_of_one_that_is_made(ground: Ground, method: str) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    told = ground.tune("--track", "tensorboard", "--method", method, "--json").json
    folder = ground.workspace / "tracking" / "tensorboard" / told["run"].replace("/", "-")
    events = reader.EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(1, told["steps"] + 1))
    assert (told["run"] == ground.first["run"]) == (method == "lora")
