"""Checkpoints: whole or passed over, and it is said which and why."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.errors import Refusal
from carrara.tune import checkpoint as module
from carrara.tune.checkpoint import Checkpoint, load_newest, newest_first, remove_others, save_checkpoint


def _save(folder: Path, step: int, passes: int = 0, identity: str = "run") -> None:
    state = {"identity": identity, "tokens": step}
    save_checkpoint(folder, Checkpoint(step, {"w": torch.full((3,), float(step))}, state, passes))


def _load(folder: Path, said: list[str] | None = None) -> Checkpoint | None:
    return load_newest(folder, "run", (said if said is not None else []).append)


def test_the_newest_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    assert _load(tmp_path / "none") is None
    for step in (1, 2, 3):
        _save(tmp_path, step)
    said: list[str] = []
    found = _load(tmp_path, said)
    assert found is not None
    assert (found.step, found.state["tokens"], found.tensors["w"].tolist()) == (3, 3, [3.0, 3.0, 3.0])
    assert not said


def test_a_half_step_is_newer_than_the_step_before_it_and_older_than_the_next(tmp_path: Path) -> None:
    for step, passes in ((3, 0), (2, 11), (2, 0), (2, 9)):
        _save(tmp_path, step, passes)
    assert [path.name[11:] for path in newest_first(tmp_path)] == ["03", "02-000011", "02-000009", "02"]
    remove_others(tmp_path, ["step-00000002-000009"])
    found = _load(tmp_path)
    assert found is not None
    assert (found.step, found.passes) == (2, 9)


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize(("damage", "reason"), [("cut", "is torn"), ("flip", "is torn"), ("remove", "is missing")])
def test_a_torn_checkpoint_is_passed_over_with_a_sentence(tmp_path: Path, name: str, damage: str, reason: str) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    path = tmp_path / "step-00000002" / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    said: list[str] = []
    found = _load(tmp_path, said)
    assert found is not None
    assert found.step == 1
    (sentence,) = said
    assert sentence.startswith(f"the checkpoint {path.parent} is passed over: ")
    assert f"{name} {reason}" in sentence or (damage == "flip" and "is torn or was changed" in sentence)


def test_a_checkpoint_of_another_recipe_is_passed_over_with_a_sentence(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2, identity="another")
    said: list[str] = []
    found = _load(tmp_path, said)
    assert found is not None
    assert found.step == 1
    assert "another recipe" in said[0]


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    (tmp_path / ".step-00000002.part").mkdir()
    found = _load(tmp_path)
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize("step", ["digest_of_file", "sync", "write_atomically"])
def test_a_full_disk_in_mid_save_leaves_the_earlier_checkpoint(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save(tmp_path, 1)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, step, full)
    with pytest.raises(Refusal, match=r"step 2 cannot be written to .*the disk is full.*make room"):
        _save(tmp_path, 2)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    found = _load(tmp_path)
    assert found is not None
    assert found.step == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_folder_that_cannot_be_written_is_a_sentence() -> None:
    with pytest.raises(Refusal, match="cannot be written"):
        _save(Path("/dev/full"), 1)
