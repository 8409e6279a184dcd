"""Fine-tuning the embedded model on the same rows: Carrara, TRL and LLaMA-Factory, as they come and at their best.

    .venv/bin/python benchmarks/train.py DATA [--method lora] [--rows 128] [--batch 8] [--repeat 2] [--json FILE]
DATA is a folder of benchmark files with gsm8k/{train,test}.jsonl. GSM8K questions and answers as turns of a chat, one
epoch, batch 8, rank 16 and alpha 32 on all linear layers, AdamW without weight decay, gradients clipped to a norm of 1,
linear decay without warm-up. Every trainer runs in a process of its own, one after the other, each repetition with
another seed; one evaluator judges what they made on held-out rows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from side_by_side import ALLOCATOR, LLAMA_FACTORY, PEERS, ROOT, ratio, require_peers, run_json

MODEL = "smollm2-135m-instruct"
RATES = {"lora": 2e-4, "full": 5e-5}  # of learning
OPERATIONS = {"lora": 4, "full": 6}  # for each weight and token: forward 2, gradients of activations 2, of weights 2
RECIPE = """
model: {model}
data: {rows}
prepare: {{test: 0, validation: 0, drop_duplicates: none}}
tune:
  {{method: {method}{adapter}, epochs: 1, batch_size: {batch}, learning_rate: {rate}, schedule: linear, warmup: 0,
  seed: {seed}}}
"""
ADAPTER = {"lora": ", rank: 16, alpha: 32", "full": ""}
OURS = "Carrara"
REFERENCE = "TRL 1.16 as it comes"


@dataclass
class Work:
    """What all trainers are given, and what they have shown so far: a list of runs for each trainer."""

    method: str
    batch: int
    model: Path
    rows: Path
    held_out: Path
    folder: Path
    found: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--method", choices=list(RATES), default="lora")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    require_peers()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pulled = run_json([*_carrara("models", "pull"), MODEL, "--json", "--workspace", folder / "workspace"])
        rows = _write_rows(folder / "rows.jsonl", arguments.data / "gsm8k" / "train.jsonl", arguments.rows)
        held_out = _write_rows(folder / "held_out.jsonl", arguments.data / "gsm8k" / "test.jsonl", arguments.held_out)
        work = Work(arguments.method, arguments.batch, Path(pulled["path"]), rows, held_out, folder)
        for seed in range(arguments.repeat):
            _repeat(work, seed)
            if arguments.json:
                content = {"arguments": vars(arguments), "facts": work.facts, "runs": work.found}
                arguments.json.write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
    _report(work)


def _write_rows(target: Path, source: Path, count: int) -> Path:
    with source.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]
    pairs = [{"prompt": row["question"], "completion": row["answer"]} for row in rows]
    target.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    return target


def _repeat(work: Work, seed: int) -> None:
    """Every trainer once, the matrix rate before and after, and the loss of what each made."""
    rate = [_matrix_rate()]
    results = {OURS: _run_carrara(work, seed)}
    tokens = results[OURS]["tokens"]
    for name, command, best in _peers(work.method):
        results[name] = _run_peer(work, seed, name, command, best)
        more = results[name].get("tokens", tokens) - tokens
        if (
            not 0 <= more <= work.rows.read_bytes().count(b"\n")
        ):  # one a row: the template's newline after the last turn
            sys.exit(f"{name} rendered {tokens + more} tokens, {OURS} {tokens}: they do not learn the same rows")
    rate.append(_matrix_rate())
    judged = _judge(work, [run["path"] for run in results.values()])
    work.facts |= {"weights": judged["weights"], "base_loss": judged["base"], "tokens": tokens}
    work.facts.setdefault("matrix_rates", []).append(rate)
    for name, run in results.items():
        speed = tokens / run["seconds"]  # the same tokens for all
        share = OPERATIONS[work.method] * judged["weights"] * speed / statistics.mean(rate)
        run |= {"tokens_per_second": speed, "share": share, "held_out_loss": judged["losses"][run["path"]]}
        work.found.setdefault(name, []).append(run)
        _say(f"repetition {seed + 1}, {name}: held-out loss {run['held_out_loss']:.4f}")


def _peers(method: str) -> list[tuple[str, list[Path], bool]]:
    """Name, program and whether at its best, of each peer."""
    trl = [PEERS, ROOT / "peers" / "trl_tune.py"]
    factory = [LLAMA_FACTORY, ROOT / "peers" / "llamafactory_tune.py"]
    return [
        (REFERENCE, trl, False),
        ("TRL 1.16 at its best", trl, True),
        ("LLaMA-Factory 0.9.5 as it comes", factory, False),
        ("LLaMA-Factory 0.9.5 at its best", factory, True),
    ][: 4 if method == "lora" else 2]


def _run_carrara(work: Work, seed: int) -> dict[str, Any]:
    recipe = work.folder / f"{seed}.yaml"
    settings = {"method": work.method, "adapter": ADAPTER[work.method], "batch": work.batch}
    settings |= {"rate": RATES[work.method], "seed": seed}
    recipe.write_text(RECIPE.format(model=MODEL, rows=work.rows, **settings), encoding="utf-8")
    began = time.monotonic()
    tuned = run_json([*_carrara("tune"), recipe, "--json", "--workspace", work.folder / "workspace"])
    run = {"tokens": tuned["tokens"], "seconds": tuned["seconds"], "peak_mb": tuned["peak_memory_mb"]}
    return _timed(OURS, began, {**run, "path": tuned["path"]})


def _run_peer(work: Work, seed: int, name: str, command: Sequence[Path], best: bool) -> dict[str, Any]:
    output = work.folder / f"{name} {seed}".replace(" ", "-")
    options = ["--method", work.method, "--learning-rate", str(RATES[work.method]), "--batch", str(work.batch)]
    options += ["--seed", str(seed), *(["--best"] if best else [])]
    began = time.monotonic()
    run = run_json([*command, work.model, work.rows, output, *options], ALLOCATOR if best else None)
    return _timed(name, began, {**run, "path": str(output)})


def _timed(name: str, began: float, run: dict[str, Any]) -> dict[str, Any]:
    whole = time.monotonic() - began
    _say(f"{name}: {run['seconds']:.1f} s of training, {whole:.1f} s in all, peak {run['peak_mb']:,.0f} MB")
    return {**run, "whole_seconds": whole}


def _judge(work: Work, results: Sequence[str]) -> dict[str, Any]:
    return run_json([PEERS, ROOT / "peers" / "held_out.py", work.model, work.held_out, *results], ALLOCATOR)


def _matrix_rate() -> float:
    found = run_json([sys.executable, ROOT / "matrix_rate.py"])
    _say("bfloat16 matrix rate: " + ", ".join(f"{shape} {rate / 1e9:,.0f}" for shape, rate in found["rates"].items()))
    return found["rate"]


def _carrara(*verb: str) -> list[str]:
    return [sys.executable, "-m", "carrara", *verb]


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _report(work: Work) -> None:
    """The table, and under it what the shares and the losses are measured against."""
    names = ["trainer", "tokens/s (median, range)", "Carrara is", "share of matrix rate", "peak MB", "of Carrara's"]
    names += ["held-out loss", "against TRL as it comes", "whole command, s"]
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    column = {name: {key: [run[key] for run in runs] for key in runs[0]} for name, runs in work.found.items()}
    ours, reference = column[OURS], column[REFERENCE]
    for name, runs in column.items():
        speed = runs["tokens_per_second"]
        cells = [
            name,
            f"{statistics.median(speed):.0f} ({min(speed):.0f} to {max(speed):.0f})",
            "–" if name == OURS else f"{ratio(ours['tokens_per_second'], speed)} faster",
            f"{statistics.median(runs['share']):.0%} ({min(runs['share']):.0%} to {max(runs['share']):.0%})",
            f"{max(runs['peak_mb']):,.0f}",
            "–" if name == OURS else str(ratio(runs["peak_mb"], ours["peak_mb"])),
            f"{statistics.mean(runs['held_out_loss']):.4f}",
            "–" if name == REFERENCE else _difference(runs["held_out_loss"], reference["held_out_loss"]),
            f"{statistics.median(runs['whole_seconds']):.0f}",
        ]
        print(f"| {' | '.join(cells)} |")
    facts, rates = work.facts, [rate / 1e9 for pair in work.facts["matrix_rates"] for rate in pair]
    print(
        f"\nMatrix rate {statistics.mean(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) GFLOP/s in bfloat16, "
        f"the best of four shapes; {OPERATIONS[work.method]} operations for each of {facts['weights']:,} weights and "
        f"each of {facts['tokens']:,} tokens. Held-out loss before training: {facts['base_loss']:.4f}."
    )


def _difference(losses: Sequence[float], reference: Sequence[float]) -> str:
    """How much higher or lower in percent, over paired repetitions."""
    percent = [100 * (ours / theirs - 1) for ours, theirs in zip(losses, reference, strict=True)]
    return f"{statistics.median(percent):+.2f} % ({min(percent):+.2f} to {max(percent):+.2f})"


if __name__ == "__main__":
    main()
