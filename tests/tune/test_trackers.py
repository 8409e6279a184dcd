"""Trackers that are installed, each through its own reader: every point once, also where a run was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.tune import trackers
from carrara.tune.trackers import open_trackers, require_trackers

_KILLED = """
import os, sys, time
from pathlib import Path
from carrara.progress import Silent
from carrara.tune.curves import Curves
from carrara.tune.trackers import open_trackers
name, folder, step, last, killed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
recipe = {"model": "m", "tune": {"rank": 4}}
curves = Curves(folder / "metrics.jsonl", open_trackers([name], folder / "tracking", "run/abc", recipe, Silent()))
curves.resume(step)
for step in range(step + 1, last + 1):
    curves.write({"step": step, "loss": 1.0 / step, "learning_rate": 1e-4})
if killed == "yes":
    time.sleep(1)  # for what a library writes in the background
    os.kill(os.getpid(), 9)
curves.close()
"""


def _go_on_twice(name: str, folder: Path) -> None:
    """Twelve steps in three tries, the first two of them killed; later steps than the checkpoint's were told."""
    for step, last, killed in ((0, 8, "yes"), (5, 6, "yes"), (5, 12, "no")):
        arguments = [name, str(folder), str(step), str(last), killed]
        environment = {**os.environ, "TRACKIO_DIR": str(folder / "trackio"), "MLFLOW_TRACKING_URI": ""}
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, *arguments],
            env=environment, cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == (-9 if killed == "yes" else 0), done.stderr
        assert done.stdout == ""


def test_tensorboard(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _go_on_twice("tensorboard", tmp_path)
    events = reader.EventAccumulator(str(tmp_path / "tracking" / "tensorboard" / "run-abc")).Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "learning_rate"}
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 13))
    assert [event.value for event in events.Scalars("loss")] == pytest.approx([1 / n for n in range(1, 13)])
    (recipe,) = events.Tensors("recipe/text_summary")
    assert b'"rank": 4' in recipe.tensor_proto.string_val[0]


def test_mlflow(tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    _go_on_twice("mlflow", tmp_path)
    client = tracking.MlflowClient(f"sqlite:///{tmp_path / 'tracking' / 'mlflow' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("carrara").experiment_id])
    assert run.info.run_name == "run-abc"
    assert run.data.params == {"model": "m", "tune.rank": "4"}
    points = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in points] == [(n, 1 / n) for n in range(1, 13)]
    assert not (tmp_path / "mlruns").exists()


def test_trackio(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    import sqlite3

    _go_on_twice("trackio", tmp_path)
    (database,) = (tmp_path / "trackio").glob("*.db")
    steps = sqlite3.connect(database).execute("SELECT step FROM metrics ORDER BY id").fetchall()
    assert [step for (step,) in steps] == list(range(1, 13))


def test_wandb(tmp_path: Path) -> None:
    """Offline: what could be sent later is one folder, that of the last try, and it holds the whole run."""
    protocol = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    _go_on_twice("wandb", tmp_path)
    (folder,) = (tmp_path / "tracking" / "wandb" / "wandb").glob("offline-run-*")
    (log,) = folder.glob("*.wandb")
    steps = []
    for content in _records(log.read_bytes()):
        record = protocol.Record()
        record.ParseFromString(content)
        if record.WhichOneof("record_type") == "history":
            steps.append(record.history.step.num)
    assert steps == list(range(1, 13))


def _records(log: bytes) -> list[bytes]:
    """The records of a log in LevelDB's format, each here in one piece: after the file's 7 bytes, 7 before each."""
    found, place = [], 7
    while place + 7 <= len(log):
        size = int.from_bytes(log[place + 4 : place + 6], "little")
        found.append(log[place + 7 : place + 7 + size])
        place += 7 + size
    return found


def test_a_library_that_is_missing_is_refused_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(Refusal, match=r"names wandb, which is not installed; pip install 'carrara\[wandb\]'"):
        require_trackers(["wandb"])


def test_a_folder_of_that_name_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "surely_missing").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Refusal, match="not installed"):
        require_trackers(["surely_missing"])


class _Full:
    held = 3

    def __init__(self, *arguments: Any) -> None:
        del arguments
        self.asked = 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        del step, values
        self.asked += 1
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        raise AssertionError("it was let go")


def test_a_tracker_that_fails_is_let_go_and_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Listening(Silent):
        def say(self, sentence: str) -> None:
            said.append(sentence)

    monkeypatch.setattr(trackers, "require_trackers", lambda names: None)
    monkeypatch.setattr(trackers, "TensorBoard", _Full)
    (tracker,) = open_trackers(["tensorboard"], tmp_path, "run/abc", {}, Listening())
    assert tracker.held == 3
    tracker.log(4, {"loss": 1.0})
    tracker.log(5, {"loss": 1.0})
    tracker.close()
    assert len(said) == 1
    assert "tensorboard takes no more points" in said[0]
    assert "No space left on device" in said[0]


def test_one_that_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise ConnectionError("nobody\nanswers")

    monkeypatch.setattr(trackers, "require_trackers", lambda names: None)
    monkeypatch.setattr(trackers, "MLflow", broken)
    with pytest.raises(Refusal, match=r"mlflow cannot be opened \(nobody answers\)"):
        open_trackers(["mlflow"], tmp_path, "run/abc", {}, Silent())
