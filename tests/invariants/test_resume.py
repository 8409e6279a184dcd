"""A resumed run is the same run: killed with -9 anywhere, also while saving, the final weights are bit-identical."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.tiny import write_pairs

RECIPE = """
model: {model}
data: {data}
prepare: {{render: plain, test: 0.1, validation: 0.1}}
tune: {{method: {method}, rank: 4, dropout: 0.05, epochs: 6, batch_size: 4, checkpoint_minutes: 0}}
"""


def _start(recipe: Path, workspace: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "carrara", "tune", str(recipe), "--json", "--workspace", str(workspace)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


def _finish(recipe: Path, workspace: Path) -> tuple[dict[str, object], str]:
    process = _start(recipe, workspace)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out), err


def _wait_for_checkpoint(workspace: Path, process: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if len(list(workspace.glob("work/run/*/checkpoints/step-*"))) >= count:
            return
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kills"), [("lora", 3), ("full", 1)])
def test_a_killed_run_ends_with_the_same_bits(tiny_folder: Path, tmp_path: Path, method: str, kills: int) -> None:
    recipe = tmp_path / "recipe.yaml"
    data = write_pairs(tmp_path / "pairs.jsonl", 80)
    recipe.write_text(RECIPE.format(model=tiny_folder, data=data, method=method))
    whole, _ = _finish(recipe, tmp_path / "whole")
    chance = random.Random(method)
    killed = tmp_path / "killed"
    for _ in range(kills):
        process = _start(recipe, killed)
        _wait_for_checkpoint(killed, process, 2)
        time.sleep(chance.random() * 0.05)  # anywhere in a step, or in the middle of a save
        process.send_signal(signal.SIGKILL)
        process.communicate()
    resumed, err = _finish(recipe, killed)
    assert "going on after step" in err
    assert whole["run"] == resumed["run"]
    files = sorted(path.name for path in Path(str(whole["path"])).glob("*.safetensors"))
    assert files
    for name in files:
        one, other = (load_file(Path(str(result["path"])) / name) for result in (whole, resumed))
        assert one.keys() == other.keys()
        assert all(bool((one[key] == other[key]).all()) for key in one)


@pytest.mark.slow
def test_ctrl_c_saves_the_step_and_says_how_to_go_on(tiny_folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    text = RECIPE.format(model=tiny_folder, data=write_pairs(tmp_path / "pairs.jsonl", 80), method="lora")
    recipe.write_text(
        text.replace("epochs: 6", "epochs: 5000").replace("checkpoint_minutes: 0", "checkpoint_minutes: 9")
    )
    process = _start(recipe, tmp_path / "workspace")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "workspace").glob("work/run/*")):
        time.sleep(0.05)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert list((tmp_path / "workspace").glob("work/run/*/checkpoints/step-*"))
