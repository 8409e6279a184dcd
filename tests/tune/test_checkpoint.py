"""Checkpoints: whole or ignored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from carrara.errors import Refusal
from carrara.tune.checkpoint import Checkpoint, load_newest, save_checkpoint


def _save(folder: Path, step: int) -> None:
    save_checkpoint(folder, Checkpoint(step, {"w": torch.full((3,), float(step))}, {"tokens": step}))


def test_the_newest_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "none") is None
    for step in (1, 2, 3):
        _save(tmp_path, step)
    found = load_newest(tmp_path)
    assert found is not None
    assert (found.step, found.state["tokens"], found.tensors["w"].tolist()) == (3, 3, [3.0, 3.0, 3.0])
    assert len(list(tmp_path.glob("step-*"))) == 2


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, name: str, damage: str) -> None:
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
    found = load_newest(tmp_path)
    assert found is not None
    assert found.step == 1


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    (tmp_path / ".step-00000002.part").mkdir()
    found = load_newest(tmp_path)
    assert found is not None
    assert found.step == 1


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "step").mkdir()
    with pytest.raises((Refusal, OSError)):
        save_checkpoint(full, Checkpoint(1, {"w": torch.zeros(1)}, {}))
