"""ARC-Challenge 25-shot on the embedded model, Carrara beside lm-eval 0.4.13, with the largest difference found.

    .venv/bin/python benchmarks/score.py DATA [--limit 12] [--repeat 2]
DATA is a folder of benchmark files with arc/ARC-Challenge/{train,test}.jsonl.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from side_by_side import ALLOCATOR, PEERS, ROOT, ratio, require_peers, run_json


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=2)
    arguments = parser.parse_args()
    require_peers()
    seconds: dict[str, list[float]] = {"lm-eval 0.4.13": [], "lm-eval, allocator set": []}
    seconds |= {"Carrara float32": [], "Carrara bfloat16": []}
    worst = {"float32": 0.0, "bfloat16": 0.0}
    limit = ["--limit", str(arguments.limit)]
    with tempfile.TemporaryDirectory() as name:
        for number in range(arguments.repeat):
            carrara = [sys.executable, "-m", "carrara", "--workspace", Path(name) / str(number)]
            model = run_json([*_verb(carrara, "models", "pull"), "smollm2-135m-instruct", "--json"])
            peer = [PEERS, ROOT / "peers" / "lm_eval_arc.py", model["path"], arguments.data.resolve(), *limit]
            theirs = run_json(peer)
            seconds["lm-eval 0.4.13"].append(theirs["seconds"])
            seconds["lm-eval, allocator set"].append(run_json(peer, ALLOCATOR)["seconds"])
            for dtype in worst:
                verb = [
                    *_verb(carrara, "evaluate"),
                    "smollm2-135m-instruct",
                    "--tasks",
                    "arc_challenge",
                    "--shots",
                    "25",
                ]
                ours = run_json([*verb, *limit, "--dtype", dtype, "--benchmarks", arguments.data.resolve(), "--json"])
                seconds[f"Carrara {dtype}"].append(ours["tasks"][0]["seconds"])
                worst[dtype] = max(worst[dtype], _largest_difference(ours["scores"], theirs["loglikelihoods"]))
    print("| scorer | seconds (median) | against lm-eval | with its allocator set | largest difference, nats |")
    print("|---|---|---|---|---|")
    for scorer, values in seconds.items():
        rates = [1 / value for value in values]
        against = [
            ratio(rates, [1 / v for v in seconds[peer]]) for peer in ("lm-eval 0.4.13", "lm-eval, allocator set")
        ]
        difference = worst.get(scorer.removeprefix("Carrara "))
        shown = "the reference" if difference is None else f"{difference:.2g}"
        print(f"| {scorer} | {statistics.median(values):.1f} | {against[0]} | {against[1]} | {shown} |")


def _verb(carrara: list[Any], *verb: str) -> list[Any]:
    """The command with its verb before the options that every verb has."""
    return [*carrara[:3], *verb, *carrara[3:]]


def _largest_difference(path: str, reference: dict[str, list[float]]) -> float:
    rows = pq.read_table(path).to_pylist()
    return max(
        abs(ours - theirs)
        for row in rows
        for ours, theirs in zip(row["loglikelihoods"], reference[str(row["item"])], strict=True)
    )


if __name__ == "__main__":
    main()
