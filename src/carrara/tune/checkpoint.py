"""Checkpoints that are whole or ignored: safetensors and JSON under a manifest of digests, never a pickle."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.workspace import digest_of_file, write_atomically
from carrara.workspace.files import sync

if TYPE_CHECKING:
    import torch

_KEPT = 2
_TENSORS, _STATE, _MANIFEST = "tensors.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name and a JSON state, as of the end of a step."""

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the others, then drop all but the newest two; raises OSError on a full disk."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    final = folder / f"step-{checkpoint.step:08d}"
    partial = folder / f".{final.name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        save_file({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}, partial / _TENSORS)
        (partial / _STATE).write_text(json.dumps(checkpoint.state), encoding="utf-8")
    except (SafetensorError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise Refusal(
            f"the checkpoint of step {checkpoint.step} cannot be written to {folder} ({error}); make room on the disk "
            "and run the same command again: it goes on from the checkpoint before."
        ) from error
    manifest = {name: digest_of_file(partial / name) for name in (_TENSORS, _STATE)}
    write_atomically(partial / _MANIFEST, json.dumps(manifest))
    for name in (_TENSORS, _STATE):
        sync(partial / name)
    shutil.rmtree(final, ignore_errors=True)
    partial.replace(final)
    sync(folder)
    for old in _steps(folder)[_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole; a torn or altered one is passed over."""
    from safetensors.torch import load_file

    for path in _steps(folder):
        if _is_whole(path):
            state = json.loads((path / _STATE).read_text(encoding="utf-8"))
            return Checkpoint(int(path.name.removeprefix("step-")), load_file(path / _TENSORS), state)
    return None


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True)


def _is_whole(path: Path) -> bool:
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        return set(manifest) == {_TENSORS, _STATE} and all(
            digest_of_file(path / name) == digest for name, digest in manifest.items()
        )
    except (OSError, ValueError, TypeError):
        return False
