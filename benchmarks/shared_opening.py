"""Rows that begin alike, as behind one system prompt: learned with that opening computed for each row, and once.

    .venv/bin/python benchmarks/shared_opening.py [--rows 8] [--repeat 7]
SmolLM2-135M-Instruct with LoRA, a batch of rows of random tokens in passes of the default size, forward and back; the
two take turns, so that what else the machine does falls on both alike.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from pathlib import Path
from typing import Any

from carrara.data.render.batches import collate, passes
from carrara.data.render.example import Rendered
from carrara.models import resolve_model
from carrara.models.load import load_model
from carrara.models.machine import choose_device, choose_dtype, prepare_for_heavy_work
from carrara.progress import Silent
from carrara.recipe import TuneRecipe
from carrara.tune.methods import attach, trainable
from carrara.tune.objective import learn
from carrara.workspace import open_workspace

MODEL = "smollm2-135m-instruct"
OWN = (60, 200)  # tokens of a row behind the opening, half of them learned
OPENINGS = (24, 64, 128, 256, 512)
PLACES = 1536  # of a pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--workspace", type=Path)
    arguments = parser.parse_args()
    prepare_for_heavy_work()

    from carrara.tune.fused import fuse  # imports torch, which is prepared for

    tune, dtype = TuneRecipe(), choose_dtype("auto")
    loaded = load_model(resolve_model(open_workspace(arguments.workspace), MODEL, Silent()), str(dtype).split(".")[-1])
    network = attach(loaded, tune)
    for parameter in trainable(network).values():
        parameter.data = parameter.data.to(dtype)
    fuse(network)
    print("| opening, tokens | own, tokens | for each row, tokens/s | once, tokens/s | times as fast |")
    print("|---|---|---|---|---|")
    for opening in OPENINGS:
        for own in OWN:
            _compare(network, _rows(opening, own, arguments.rows), opening, arguments.repeat)


def _rows(opening: int, own: int, count: int) -> list[Rendered]:
    draw = random.Random(opening)
    shared = [draw.randrange(1000, 40000) for _ in range(opening)]
    learned = (False,) * (opening + own - own // 2) + (True,) * (own // 2)
    ids = [(*shared, *(draw.randrange(1000, 40000) for _ in range(own))) for _ in range(count)]
    return [Rendered(each, learned, 0, "") for each in ids]


def _compare(network: Any, rows: list[Rendered], opening: int, repeat: int) -> None:
    speeds: dict[int, list[float]] = {0: [], opening: []}
    tokens = sum(len(row.ids) for row in rows)
    for turn in range(repeat + 1):  # the first is not counted
        for shared, found in speeds.items():
            began = time.monotonic()
            _learn(network, rows, shared)
            if turn:
                found.append(tokens / (time.monotonic() - began))
    each, once = speeds[0], speeds[opening]
    ratios = [b / a for a, b in zip(each, once, strict=True)]
    cells = [f"{statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f})" for found in (each, once)]
    times = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"| {opening} | {len(rows[0].ids) - opening} | {' | '.join(cells)} | {times} |", flush=True)


def _learn(network: Any, rows: list[Rendered], opening: int) -> None:
    for part in passes(range(len(rows)), [len(row.ids) for row in rows], PLACES, False, opening):
        learn(network, collate([rows[row] for row in part], choose_device(), False, opening), 1e-3)


if __name__ == "__main__":
    main()
