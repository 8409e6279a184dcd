"""Checkpoints that are whole or ignored: safetensors and JSON under a manifest of digests, never a pickle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.workspace import digest_of_file, write_atomically
from carrara.workspace.files import is_full_disk, sync

if TYPE_CHECKING:
    import torch

KEPT = 2  # the newest, and one to fall back on
_TENSORS, _STATE, _MANIFEST = "tensors.safetensors", "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name and a JSON state, as of the end of a step, or after `passes` passes of the step behind it."""

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]
    passes: int = 0

    @property
    def name(self) -> str:
        """What its folder is called; names sort by age."""
        return f"step-{self.step:08d}" + (f"-{self.passes:06d}" if self.passes else "")


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint beside the others, whole or not at all; raises Refusal if it cannot be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    final = folder / checkpoint.name
    partial = folder / f".{final.name}.part"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        save_file({name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}, partial / _TENSORS)
        (partial / _STATE).write_text(json.dumps(checkpoint.state), encoding="utf-8")
        manifest = {name: digest_of_file(partial / name) for name in (_TENSORS, _STATE)}
        for name in manifest:
            sync(partial / name)
        write_atomically(partial / _MANIFEST, json.dumps(manifest))
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
        sync(folder)
    except (SafetensorError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = "the disk is full" if is_full_disk(error) else str(error)
        raise Refusal(
            f"the checkpoint of step {checkpoint.step} cannot be written to {folder} ({reason}); make room on the disk "
            "and run the same command again: it goes on from the checkpoint before."
        ) from error


def load_newest(folder: Path, identity: str, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint of a run that is whole; says of each that is passed over which it is, and why."""
    for path in newest_first(folder):
        try:
            checkpoint = load_checkpoint(path)
            if checkpoint.state["identity"] == identity:
                return checkpoint
            reason = "it is of another recipe, model or dataset"
        except Refusal as refusal:
            reason = str(refusal)
        say(f"the checkpoint {path} is passed over: {reason}")
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a folder; raises Refusal, with the reason alone, if it is torn or was changed."""
    from safetensors.torch import load_file

    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        changed = [name for name in (_TENSORS, _STATE) if digest_of_file(path / name) != manifest[name]]
        if changed:
            raise Refusal(f"{changed[0]} is torn or was changed")
        state = json.loads((path / _STATE).read_text(encoding="utf-8"))
        step, *passes = (int(part) for part in path.name.split("-")[1:])
        return Checkpoint(step, load_file(path / _TENSORS), state, *passes)
    except FileNotFoundError as error:
        raise Refusal(f"{Path(error.filename).name} is missing") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Refusal(f"{_MANIFEST} is torn or was changed") from error


def load_state(path: Path) -> dict[str, Any]:
    """The JSON state in a checkpoint's folder, empty if it cannot be read; whether all is whole is not asked."""
    try:
        return json.loads((path / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def newest_first(folder: Path) -> list[Path]:
    """The folders of checkpoints, whole or not."""
    return sorted(folder.glob("step-*"), key=lambda path: path.name, reverse=True)


def remove_others(folder: Path, kept: Collection[str]) -> None:
    """Remove all checkpoints but those of these names."""
    for path in newest_first(folder):
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
