"""A resumed run is the same run: killed with -9 anywhere, also while saving, the final weights are bit-identical."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.invariants.kills import run, settings
from tests.tiny import write_pairs

RECIPE = """
model: {model}
data: {data}
prepare: {{render: plain, test: 0.1, validation: 0.1}}
tune: {{rank: 4, epochs: 5000, batch_size: 4, checkpoint_minutes: 9, allow: [steps]}}
"""


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bits(tmp_path: Path) -> None:
    """`python -m tests.invariants.kills --count 50` does it for all settings."""
    wanted = ("lora, packed, several passes", "full, sorted, several passes", "prompt, sorted, one pass")
    chosen = [setting for setting in settings() if setting.name in wanted]
    assert len(chosen) == len(wanted)
    outcomes = run(tmp_path / "ground", 7, chosen)
    assert [outcome.different for outcome in outcomes.values()] == [[]] * len(wanted)
    assert sum(outcome.identical for outcome in outcomes.values()) == 7


@pytest.mark.slow
def test_ctrl_c_saves_the_step_and_says_how_to_go_on(tiny_folder: Path, tmp_path: Path) -> None:
    recipe, workspace = tmp_path / "recipe.yaml", tmp_path / "workspace"
    recipe.write_text(RECIPE.format(model=tiny_folder, data=write_pairs(tmp_path / "pairs.jsonl", 80)))
    command = [sys.executable, "-m", "carrara", "tune", str(recipe), "--json", "--workspace", str(workspace)]
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=dict(os.environ))
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and not _has_steps(workspace):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    said = (tmp_path / "stderr").read_text()
    assert code == 130, said
    assert "is finished and saved" in said
    assert f"run the same command again to go on where it was: carrara tune {recipe}" in said
    assert "Traceback" not in said
    assert list(workspace.glob("work/run/*/checkpoints/step-*"))


def _has_steps(workspace: Path) -> bool:
    return any(path.stat().st_size for path in workspace.glob("work/run/*/metrics.jsonl"))
