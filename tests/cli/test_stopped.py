"""Stopped half-way, by a full disk or by Ctrl-C: nothing is lost, and the same command goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.calling import Result, call, listed
from tests.cli.ground import Ground, make_ground
from tests.models.tiny_gguf import make_network, write_gguf
from tests.tiny import write_pairs, write_tiny_model


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)  # files may still be open


def test_a_full_disk_loses_nothing_and_the_same_command_goes_on(
    small_disk: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    ground = make_ground(small_disk / "workspace", tiny_folder)
    write_pairs(ground.folder / "more.jsonl", 300)
    other = write_tiny_model(tmp_path / "other", seed=3)
    gguf = write_gguf(tmp_path / "m.gguf", make_network())
    recipe = ground.recipe(tune={"rank": 4, "dtype": "float32"})
    commands: dict[str, tuple[int, list[Any]]] = {  # bytes that are left, and a command that needs more
        "prepare": (75_000, ["prepare", "more.jsonl", "--model", ground.model]),
        "pull": (75_000, ["models", "pull", other]),
        "gguf": (75_000, ["models", "pull", gguf]),
        "full": (120_000, ["tune", recipe, "--method", "full"]),
        "compare": (0, ["compare", ground.scores, ground.scores]),
    }
    for left, arguments in commands.values():
        filler = ground.folder / "filler"
        filler.touch()
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - left))
        result = call(ground.workspace, *arguments)
        filler.unlink()
        assert result.code == 2, result
        assert "make room" in result.sentence
        assert listed(ground.workspace) >= ground.made
        assert call(ground.workspace, *arguments).code == 0


# ---- Ctrl-C ----


def _interrupt(arguments: list[str], folder: Path, ready: Callable[[str], bool]) -> Result:
    """Run a command and press Ctrl-C once a line of its stderr says that it is at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "carrara", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while line := process.stderr.readline():
        said += line
        if ready(line):
            break
    time.sleep(0.7)  # into the steps
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=60)
    return Result(process.returncode, out, said + rest)


def test_ctrl_c_says_how_to_go_on_and_loses_nothing(ground: Ground) -> None:
    before = listed(ground.workspace)
    recipe = ground.recipe(tune={"epochs": 4000, "dtype": "float32", "checkpoint_minutes": 0, "allow": ["steps"]})
    arguments = ["tune", str(recipe), "--json", "--workspace", str(ground.workspace)]
    result = _interrupt(arguments, ground.folder, lambda line: "truth check" in line)
    assert result.code == 130
    assert result.out == ""
    assert result.sentence == (
        "stopped; run the same command again to go on where it was: " + " ".join(["carrara", *arguments])
    )
    assert {made for made in listed(ground.workspace) ^ before if not made.startswith("dataset/")} == set()
    assert listed(ground.workspace) >= before
    assert list((ground.workspace / "work" / "run").glob("*/checkpoints/step-*"))


# ---- kill -9 ----


@pytest.mark.slow
def test_a_killed_prepare_goes_on_and_leaves_no_worker_behind(tmp_path: Path) -> None:
    rows = write_pairs(tmp_path / "rows.jsonl", 12_000)
    model = write_tiny_model(tmp_path / "model")
    arguments = ["prepare", str(rows), "--model", str(model), "--json", "--workspace"]
    process = subprocess.Popen(
        [sys.executable, "-m", "carrara", *arguments, str(tmp_path / "killed")],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    kept = tmp_path / "killed" / "work" / "dataset"
    deadline = time.monotonic() + 60
    while len(done := list(kept.glob("*/chunks/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    times = {answer: answer.stat().st_mtime_ns for answer in done}
    assert len(workers) >= 1
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    told = call(tmp_path / "killed", *arguments[:-1]).json
    fresh = call(tmp_path / "fresh", *arguments[:-1]).json
    assert times
    assert told["id"] == fresh["id"]
    for name in ("train.jsonl", "validation.jsonl", "test.jsonl", "quarantine.jsonl", "checks.json"):
        assert (Path(told["dataset"]) / name).read_bytes() == (Path(fresh["dataset"]) / name).read_bytes()
