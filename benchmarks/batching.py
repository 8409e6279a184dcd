"""Rows of unlike length in batches sorted by length, and packed into rows of their own: tokens a second of each.

    .venv/bin/python benchmarks/batching.py DATA [--rows 192] [--batch 16] [--repeat 3]
DATA is a folder of benchmark files. LoRA on the embedded model, rows of Alpaca (short ones) and of GSM8K (longer ones),
one epoch. The two take turns, each repetition with another seed; both learn the same batches.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import ratio, run_json

MODEL = "smollm2-135m-instruct"
WAYS = ("sorted", "packed")
RECIPE = """
model: {model}
data: {rows}
prepare: {{test: 0, validation: 0, drop_duplicates: none}}
tune: {{method: lora, epochs: 1, batch_size: {batch}, learning_rate: 2e-4, seed: {seed}, batching: {way}}}
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = _write_rows(folder / "rows.jsonl", arguments.data, arguments.rows)
        for seed in range(arguments.repeat):
            for way in WAYS if seed % 2 == 0 else reversed(WAYS):
                recipe = folder / f"{way}-{seed}.yaml"
                settings = {"batch": arguments.batch, "seed": seed, "way": way}
                recipe.write_text(RECIPE.format(model=MODEL, rows=rows, **settings), encoding="utf-8")
                command = [sys.executable, "-m", "carrara", "tune", recipe, "--json"]
                # In one workspace they would be one run, since they end in the same weights.
                found[way].append(run_json([*command, "--workspace", folder / way]))
    _report(found)


def _write_rows(target: Path, data: Path, count: int) -> Path:
    """As many rows of either source in turn."""
    short = (json.loads(line) for line in (data / "alpaca" / "alpaca_data_5k.jsonl").open(encoding="utf-8"))
    longer = (json.loads(line) for line in (data / "gsm8k" / "train.jsonl").open(encoding="utf-8"))
    pairs = itertools.chain.from_iterable(
        (
            {"prompt": f"{a['instruction']}\n{a['input']}".strip(), "completion": a["output"]},
            {"prompt": b["question"], "completion": b["answer"]},
        )
        for a, b in zip(short, longer)
    )
    lines = (json.dumps(pair) + "\n" for pair in itertools.islice(pairs, count))
    target.write_text("".join(lines), encoding="utf-8")
    return target


def _report(found: dict[str, list[dict[str, Any]]]) -> None:
    rates = {way: [run["tokens"] / run["seconds"] for run in runs] for way, runs in found.items()}
    print("| batches | tokens/s (median, range) | peak MB |\n|---|---|---|")
    for way, runs in found.items():
        speed = rates[way]
        peak = max(run["peak_memory_mb"] for run in runs)
        print(f"| {way} | {statistics.median(speed):.0f} ({min(speed):.0f} to {max(speed):.0f}) | {peak:,.0f} |")
    tokens = found["sorted"][0]["tokens"]
    print(f"\nSorted is {ratio(rates['sorted'], rates['packed'])} as fast as packed, {tokens:,} tokens.")


if __name__ == "__main__":
    main()
