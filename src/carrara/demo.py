"""The demonstration: the embedded model learns to answer school science questions, and is examined."""

from __future__ import annotations

import json
from pathlib import Path

from carrara.progress import Progress
from carrara.recipe import Recipe, make_recipe
from carrara.tasks.arc import ARC_EASY
from carrara.tasks.sources import find_benchmark, read_items
from carrara.way import Way, walk
from carrara.workspace import Workspace, write_atomically

_QUICK_ROWS = 320


def run_demo(workspace: Workspace, benchmarks: Path | None, quick: bool, progress: Progress) -> Way:
    """Go the whole way on SmolLM2-135M-Instruct with the ARC-Easy training questions; `quick` takes few of them."""
    progress.say("0/5 data      2,251 science questions of ARC-Easy, as prompt and completion rows")
    rows = _training_rows(workspace, benchmarks, _QUICK_ROWS if quick else None, progress)
    return walk(workspace, demo_recipe(rows, benchmarks, quick), progress)


def demo_recipe(rows: Path, benchmarks: Path | None, quick: bool) -> Recipe:
    """The recipe of the demonstration, as a user would write it."""
    return make_recipe(
        {
            "data": str(rows),
            "prepare": {"render": "plain", "test": 0.05, "validation": 0.05, "contamination": "drop"},
            "tune": {"method": "lora", "rank": 16, "learning_rate": 5e-4, "batch_size": 16, "epochs": 1},
            "evaluate": {
                "tasks": ["arc_easy", "hellaswag", "heldout"],
                "limits": {"arc_easy": 100, "hellaswag": 50} if quick else {"arc_easy": 1000, "hellaswag": 500},
                "dtype": "auto",
                "benchmarks": benchmarks,
            },
        }
    )


def _training_rows(workspace: Workspace, benchmarks: Path | None, limit: int | None, progress: Progress) -> Path:
    """The training questions as a file of rows; the answer alone is the completion."""
    assert ARC_EASY.train_file is not None
    file = find_benchmark(workspace, ARC_EASY.train_file, benchmarks, progress)
    items = read_items(ARC_EASY.name, file, ARC_EASY.read)[:limit]
    lines = [{"prompt": item.context, "completion": f" {item.choices[item.gold]}"} for item in items]
    target = workspace.root / "demo" / f"arc-easy-train-{len(lines)}.jsonl"
    target.parent.mkdir(exist_ok=True)
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    if not target.is_file() or target.read_text(encoding="utf-8") != content:
        write_atomically(target, content)
    return target
