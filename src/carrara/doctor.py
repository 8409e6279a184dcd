"""What this machine can do, what is missing, and the line that mends it."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from carrara.models.machine import inspect_machine
from carrara.workspace import Workspace, free_space

_ROOM = 2 << 30  # bytes that the embedded model and a first run need
_MEMORY = 4 << 30


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` is empty where nothing is to be done."""

    subject: str
    fine: bool
    state: str
    remedy: str = ""


def examine(workspace: Workspace) -> list[Finding]:
    """Look at processor, memory, accelerator, disk, pip and benchmarks."""
    machine = inspect_machine()
    free = free_space(workspace.root)
    folder = os.environ.get("CARRARA_BENCHMARKS")
    return [
        Finding("software", True, ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))),
        Finding(
            "processor",
            True,
            f"{machine.cores} cores, "
            + ("native bfloat16" if machine.bfloat16 else "no native bfloat16: float32 is used"),
        ),
        Finding("accelerator", True, machine.accelerator or "none; the processor is used"),
        Finding(
            "memory",
            machine.memory_free >= _MEMORY,
            f"{machine.memory_free / 1e9:.1f} GB free of {machine.memory / 1e9:.1f} GB",
            ""
            if machine.memory_free >= _MEMORY
            else "free some memory: the embedded model's fine-tune needs about 3 GB",
        ),
        Finding(
            "workspace",
            free >= _ROOM,
            f"{workspace.root}, {free / 1e9:.1f} GB free",
            "" if free >= _ROOM else "make room, or choose another disk with --workspace",
        ),
        _pip(),
        Finding(
            "benchmarks",
            not folder or Path(folder).is_dir(),
            folder or "no folder set: ARC and HellaSwag come from the package index, TruthfulQA from the hub",
            "" if not folder or Path(folder).is_dir() else "CARRARA_BENCHMARKS names no folder; correct or unset it",
        ),
    ]


def _pip() -> Finding:
    if importlib.util.find_spec("pip"):
        return Finding("pip", True, f"pip {version('pip')} fetches packages")
    return Finding("pip", False, "not in this environment, so packages cannot be fetched", "python -m ensurepip")
