"""Several processes train what one trains, go on from each other's checkpoints, and none waits for a dead one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from carrara.models import resolve_model
from carrara.progress import Silent
from carrara.recipe import Recipe, read_recipe
from carrara.tune.run import tune_model
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs

RECIPE = """
model: {model}
data: {data}
prepare: {{render: plain, test: 0.1, validation: 0.1}}
tune: {{method: {method}, parallel: {parallel}, rank: 4, epochs: {epochs}, batch_size: 5, micro_batch_tokens: 128,
  learning_rate: 0.001, dropout: {dropout}, dtype: float32, checkpoint_minutes: 0}}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tiny_folder: Path, tmp_path: Path) -> Write:
    """Write a recipe; its batches of 5 rows give two processes unequal shares, and the last one 2."""
    data = write_pairs(tmp_path / "pairs.jsonl", 41)

    def recipe(method: str, parallel: str = "auto", epochs: float = 2, dropout: float = 0.0) -> Path:
        text = RECIPE.format(
            model=tiny_folder, data=data, method=method, parallel=parallel, epochs=epochs, dropout=dropout
        )
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return recipe


def start(recipe: Path, workspace: Path, processes: int) -> subprocess.Popen[str]:
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command = [sys.executable, "-m", *(launcher if processes > 1 else []), "carrara", "tune", str(recipe), "--json"]
    command += ["--workspace", str(workspace)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def finish(process: subprocess.Popen[str]) -> tuple[Path, str]:
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("{")]
    return Path(json.loads(line)["path"]), err


def here(recipe: Path, workspace: Path) -> Path:
    """The run that one process makes of a recipe, this one."""
    store, wanted = Workspace(workspace), read_recipe(recipe)
    assert isinstance(wanted, Recipe)
    dataset = prepared(store, str(wanted.data), wanted.prepare)
    return tune_model(store, resolve_model(store, wanted.model, Silent()), dataset, wanted, Silent()).artefact.path


def weights(run: Path) -> dict[str, torch.Tensor]:
    found = {name: tensor for path in sorted(run.glob("*.safetensors")) for name, tensor in load_file(path).items()}
    assert found
    return found


def points(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def distance(one: Path, other: Path) -> float:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


def steps_saved(workspace: Path) -> int:
    names = [path.name for path in workspace.glob("work/run/*/checkpoints/step-*")]
    return max((int(name.split("-")[1]) for name in names), default=0)


@contextmanager
def killed_at(process: subprocess.Popen[str], workspace: Path, step: int) -> Iterator[list[int]]:
    """Wait until a step is saved; gives the process ids by rank, and kills what is left after."""
    deadline = time.monotonic() + 150
    while steps_saved(workspace) < step and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None, process.communicate()[1]
    try:
        children = psutil.Process(process.pid).children() or [psutil.Process(process.pid)]
        yield [each.pid for each in sorted(children, key=lambda each: int(each.environ().get("RANK", "0")))]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("method", "parallel"), [("lora", "shard"), ("full", "replicate")])
def test_two_processes_equal_one(write: Write, tmp_path: Path, method: str, parallel: str) -> None:
    one = here(write(method), tmp_path / "one")
    two, err = finish(start(write(method, parallel), tmp_path / "two", 2))
    assert "2 processes" in err
    assert two.name == one.name  # how it is run does not make it another run
    assert distance(one, two) < 1e-4
    assert len(points(one)) == len(points(two))
    for mine, theirs in zip(points(one), points(two), strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() & {"loss", "gradient_norm", "validation_loss"}:
            assert theirs[key] == pytest.approx(mine[key], rel=1e-4)
    assert json.loads((two / "recipe.json").read_text())["tune"]["parallel"] == parallel


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "dead"), [("replicate", 0), ("shard", 1)])
def test_a_process_that_dies_ends_the_run_which_goes_on_with_the_same_bits(
    write: Write, tmp_path: Path, parallel: str, dead: int
) -> None:
    recipe = write("lora", parallel, epochs=3, dropout=0.1)
    unbroken, _ = finish(start(recipe, tmp_path / "unbroken", 2))
    process = start(recipe, tmp_path / "broken", 2)
    with killed_at(process, tmp_path / "broken", 3) as ranks:
        os.kill(ranks[dead], signal.SIGKILL)
        died = time.monotonic()
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - died < 30
    assert process.returncode != 0
    assert "carrara: another process of this run has ended" in err, err
    assert "in _train" not in err  # no traceback of ours
    assert not list((tmp_path / "broken").glob("artefacts/run/*"))
    resumed, err = finish(start(recipe, tmp_path / "broken", 2))
    assert "going on after step" in err
    assert distance(unbroken, resumed) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("method", "parallel"), [("full", "shard"), ("lora", "replicate")])
def test_the_number_of_processes_may_change(write: Write, tmp_path: Path, method: str, parallel: str) -> None:
    recipe, broken = write(method, parallel, epochs=5), tmp_path / "broken"
    for processes, step in ((2, 3), (1, 12)):
        process = start(recipe, broken, processes)
        with killed_at(process, broken, step) as ranks:
            for rank in ranks:
                os.kill(rank, signal.SIGKILL)
    resumed, err = finish(start(recipe, broken, 2))
    assert "going on after step" in err
    assert distance(here(recipe, tmp_path / "unbroken"), resumed) < 1e-4
