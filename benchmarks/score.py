"""Benchmarks on the embedded model, Carrara beside lm-eval 0.4.13: seconds, memory, differences, changed predictions.

    .venv/bin/python benchmarks/score.py DATA [--cases arc_challenge:25,...] [--limit 12] [--repeat 1] [--batches 1,4]
DATA is a folder of benchmark files. A case is a task with its number of examples. lm-eval draws, renders and tokenizes
by itself under lm-eval-0.4; under leaderboard-2023-10, which it no longer knows, and in MMLU it is given our prompts.
It runs at each of `--batches` and the fastest counts; either side computes in float32 and in bfloat16, in processes of
their own. Seconds are those of tokenizing and scoring. Ours include what shares a pass with what was asked; a limit
that is a multiple of 64 leaves nothing of that. lm-eval's include the building of requests.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from side_by_side import ALLOCATOR, PEERS, ROOT, ratio, require_peers, run_json

MODEL = "smollm2-135m-instruct"
CASES = "arc_challenge:25,hellaswag:10,hellaswag:0,truthfulqa_mc2:0"
DTYPES = ("float32", "bfloat16")
TIE = 2e-3  # a prediction may change between answers no further apart, in nats


@dataclass(frozen=True)
class Case:
    """What both sides are asked."""

    task: str
    shots: int
    protocol: str
    limit: int

    @property
    def name(self) -> str:
        return f"{self.task} {self.shots}-shot, {self.protocol}"


@dataclass
class Found:
    """What the repetitions of one side have shown."""

    seconds: list[float] = field(default_factory=list)
    peak_mb: float = 0.0
    values: dict[str, list[float]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--protocol", default="lm-eval-0.4")
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    arguments = parser.parse_args()
    require_peers()
    print("| case | numbers | lm-eval, s | ours, s | faster | peak memory, MB | largest difference | changed |")
    print("|---|---|---|---|---|---|---|---|")
    for case in arguments.cases.split(","):
        task, shots = case.split(":")
        _compare(Case(task, int(shots), arguments.protocol, arguments.limit), arguments)


def _compare(case: Case, arguments: argparse.Namespace) -> None:
    batches = [int(batch) for batch in arguments.batches.split(",")]
    theirs: dict[str, dict[int, Found]] = {}
    ours: dict[str, Found] = {}
    dtypes = arguments.dtypes.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = _run_ours(folder / "fetched", "models", "pull", MODEL)["path"]
        questions, pool, shots = _write(case, arguments.data, folder)
        for number in range(arguments.repeat):
            for dtype in dtypes:
                peer = [PEERS, ROOT / "peers" / "lm_eval_choices.py", model, questions, pool, "--shots", shots]
                peer += ["--split", "validation" if case.task == "hellaswag" else "test"]
                for batch in batches:
                    options = ["--limit", str(case.limit), "--dtype", dtype, "--batch", str(batch)]
                    found = run_json([*peer, *options], ALLOCATOR)
                    _take(theirs.setdefault(dtype, {}).setdefault(batch, Found()), found["seconds"], found)
                found = _evaluate(case, arguments.data, dtype, folder / f"{number}-{dtype}")
                _take(ours.setdefault(dtype, Found()), found["seconds"], found)
                ours[dtype].peak_mb = max(ours[dtype].peak_mb, found["peak_memory_mb"])
    reference = theirs[dtypes[0]][batches[0]]
    for dtype in dtypes:
        best = min(theirs[dtype].values(), key=lambda found: statistics.median(found.seconds))
        _print(case, dtype, best, ours[dtype], reference)
    if dtypes == list(DTYPES):
        best = min(theirs["float32"].values(), key=lambda found: statistics.median(found.seconds))
        _print(case, "bfloat16, lm-eval float32", best, ours["bfloat16"], reference)


def _write(case: Case, data: Path, folder: Path) -> tuple[Path, Path, str]:
    """The questions and the pool of examples as files for lm-eval, and the number it is to draw."""
    from carrara.evaluate.protocol import PROTOCOLS, asked_in_order, build_context
    from carrara.tasks import BENCHMARKS

    task, protocol = BENCHMARKS[case.task], PROTOCOLS[case.protocol]
    items = task.read(data / task.file)
    pool = task.read_train(data / task.train_file) if task.train_file and task.read_train else items
    native = case.protocol == "lm-eval-0.4" and task.shots_are == "drawn"
    order = asked_in_order(protocol, task, items, pool, case.shots)
    rows = []
    for asked in order:
        item = items[asked.position]
        shots = [] if native else [pool[shot] for shot in asked.shots]
        context = build_context(task, item, shots)
        rows.append({"context": context, "choices": [*item.choices], "gold": item.gold})
    _write_lines(folder / "questions.jsonl", rows)
    examples = [{"context": item.context, "choices": [*item.choices], "gold": item.gold} for item in pool]
    _write_lines(folder / "pool.jsonl", examples)
    return folder / "questions.jsonl", folder / "pool.jsonl", str(case.shots if native else 0)


def _write_lines(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _run_ours(workspace: Path, *command: str) -> dict[str, Any]:
    return run_json([sys.executable, "-m", "carrara", *command, "--workspace", str(workspace), "--json"])


def _evaluate(case: Case, data: Path, dtype: str, workspace: Path) -> dict[str, Any]:
    """One evaluation in a workspace of its own, which knows no scores yet."""
    options = ["--tasks", case.task, "--protocol", case.protocol, "--limit", str(case.limit), "--dtype", dtype]
    shots = [] if case.task.startswith("truthfulqa") else ["--shots", str(case.shots)]
    found = _run_ours(workspace, "evaluate", MODEL, *options, *shots, "--benchmarks", str(data.resolve()))
    rows = pq.read_table(found["scores"]).to_pylist()
    return found | {"loglikelihoods": {str(place): row["loglikelihoods"] for place, row in enumerate(rows)}}


def _take(into: Found, seconds: float, found: dict[str, Any]) -> None:
    into.seconds.append(seconds)
    into.peak_mb = max(into.peak_mb, found.get("peak_mb", 0.0))
    into.values = found["loglikelihoods"]


def _print(case: Case, numbers: str, theirs: Found, ours: Found, reference: Found) -> None:
    faster = ratio([1 / s for s in ours.seconds], [1 / s for s in theirs.seconds])
    worst = max(
        abs(a - b) for item, values in ours.values.items() for a, b in zip(values, reference.values[item], strict=True)
    )
    changed = sum(_changed(values, reference.values[item]) for item, values in ours.values.items())
    print(
        f"| {case.name}, n {len(ours.values)} | {numbers} | {statistics.median(theirs.seconds):.1f} "
        f"| {statistics.median(ours.seconds):.1f} | {faster} | {theirs.peak_mb:,.0f} / {ours.peak_mb:,.0f} "
        f"| {worst:.2g} | {changed} |",
        flush=True,
    )


def _changed(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    """Whether another answer is likeliest, and not by a tie."""
    mine, other = (max(range(len(values)), key=lambda i, v=values: (v[i], -i)) for values in (ours, theirs))
    return mine != other and theirs[other] - theirs[mine] > TIE


if __name__ == "__main__":
    main()
