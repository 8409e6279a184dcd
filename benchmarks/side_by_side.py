"""Running two programs in turn on one machine, and what may be said of it: the ratio of times, with its spread."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
PEERS = ROOT / "peers" / ".venv" / "bin" / "python"
LLAMA_FACTORY = ROOT / "peers" / ".venv-llamafactory" / "bin" / "python"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "68719476736",
    "MALLOC_TOP_PAD_": "268435456",
    "THP_MEM_ALLOC_ENABLE": "1",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "32",
}


@dataclass(frozen=True)
class Ratio:
    """How many times the first is faster than the second, over paired repetitions."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.2f}x ({self.lowest:.2f} to {self.highest:.2f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """The ratio of paired rates, ours over theirs."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Ratio(statistics.median(pairs), min(pairs), max(pairs))


def run_json(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a program in an empty folder and read the JSON object on its last line of output."""
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, **OFFLINE, **(environment or {})},
            check=False,
        )
    if result.returncode:
        sys.exit(f"{command[0]} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def require_peers() -> None:
    """Stop with a sentence if an environment of the peers was not made."""
    if not (PEERS.exists() and LLAMA_FACTORY.exists()):
        sys.exit("the peers are not installed; run 'make peers' first")
