"""LoRA on an 8B-shaped LLaMA with random weights, lever by lever: tokens/s, model FLOP utilisation, peak memory.

    .venv/bin/python benchmarks/gpu.py [--shape 8b] [--steps 6] [--peak 989]
Rank 16 on all linear layers, bfloat16, passes of 4,096 places, four to a step. Rows are random tokens, 64 to 2,048
long, every one learned, so that the head works on all of them. Each setting runs in a process of its own; the first two
steps, which compile and fill the allocator, are not counted. `--shape tiny` runs the same paths on any machine.

A token costs 4 operations for each weight outside the embedding, and attention 6 for each layer, each of its width and
each token of the row so far on average twice; what is computed again does not count. Utilisation is against the rate of
matrix products measured beforehand, and against `--peak`, the maker's figure in 10^12 operations a second.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from side_by_side import PEERS, ROOT

LEVERS: dict[str, dict[str, Any]] = {
    "rows padded, all logits at once": {"batching": "sorted", "chunked": False},
    "+ packing": {"chunked": False},
    "+ head in chunks": {},
    "+ compiled layers": {"compile": True},
    "+ activations computed again": {"compile": True, "checkpoint_activations": True},
    "the same, not compiled": {"checkpoint_activations": True},
}
SHAPES = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    | {"num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192, "places": 4096},
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "vocab_size": 512, "max_position_embeddings": 256, "places": 128},
}
WINDOWS, WARM = 4, 2  # passes to a step; steps that are not counted


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", choices=list(SHAPES), default="8b")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--peak", type=float)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # how this file runs itself with one setting
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    if arguments.one:
        print(json.dumps(measure(shape, arguments.steps, json.loads(arguments.one))))
        return
    rate = in_process([sys.executable, ROOT / "matrix_rate.py"])["rate"]
    again = [sys.executable, __file__, "--shape", arguments.shape, "--steps", str(arguments.steps), "--one"]
    found = {name: in_process([*again, json.dumps(lever)]) for name, lever in LEVERS.items()}
    found["TRL with Liger kernels"] = peer(shape, arguments.steps)
    report(found, rate, arguments.peak)
    if arguments.json:
        arguments.json.write_text(json.dumps({"rate": rate, "found": found}, indent=1), encoding="utf-8")


def in_process(command: Sequence[str | Path]) -> dict[str, Any]:
    """What a program says on its last line of output, or why it did not get there."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout.strip().splitlines()[-1])
    print(done.stderr[-3000:], file=sys.stderr)
    said = [line for line in done.stderr.strip().splitlines() if line] or [f"exit {done.returncode}"]
    return {"failed": "does not fit" if "memory" in said[-1] else said[-1][:100]}


def lengths_of_rows(places: int, steps: int) -> list[int]:
    """Lengths of rows, evenly on a scale of logarithms, that fill the windows of all steps with little left over."""
    draw, lengths = random.Random(0), []
    while sum(lengths) < places * WINDOWS * steps:
        lengths.append(int(places / 64 * 32 ** draw.random()))
    return lengths


def measure(shape: dict[str, Any], steps: int, lever: dict[str, Any]) -> dict[str, Any]:
    """Train for some steps with one setting, through the same parts that `carrara tune` puts together."""
    import torch

    from carrara.data.render.example import Rendered
    from carrara.models.machine import choose_device, peak_memory_mb, prepare_for_heavy_work
    from carrara.progress import Silent
    from carrara.recipe import Recipe, TuneRecipe
    from carrara.tune.curves import METRICS, Curves, read_curves
    from carrara.tune.distributed import World
    from carrara.tune.ledger import EnergyMeter
    from carrara.tune.loop import train
    from carrara.tune.methods import attach, trainable
    from carrara.tune.network import compile_layers, make_deterministic, recompute_activations
    from carrara.tune.optimizer import Optimizer
    from carrara.tune.training import Training

    prepare_for_heavy_work()
    device = choose_device()
    make_deterministic(device)
    torch.manual_seed(0)
    chunked = lever.pop("chunked", True)
    if not chunked:
        hold_all_logits()
    lengths, places = lengths_of_rows(shape["places"], steps), shape["places"]
    # Every step learns the same number of rows; a pass holds what fits into `places`.
    common = {"batch_size": len(lengths) // steps, "micro_batch_tokens": places, "batching": "packed"}
    options = {**common, "dtype": "bfloat16", "learning_rate": 1e-5, "checkpoint_minutes": 1e6, "warmup": 0.0}
    recipe = TuneRecipe(**{**options, "checkpoint_activations": False, **lever})
    loaded = random_network(shape, device)
    weights = sum(parameter.numel() for parameter in loaded.network.parameters())
    network = attach(loaded, recipe)
    if recipe.checkpoint_activations:
        recompute_activations(network)
    if recipe.compile:
        compile_layers(network, device, Silent())
    draw = random.Random(1)
    rows = [
        Rendered(tuple(draw.randrange(shape["vocab_size"]) for _ in range(length)), (True,) * length, row, str(row))
        for row, length in enumerate(lengths[: common["batch_size"] * steps])
    ]
    with tempfile.TemporaryDirectory() as name:
        training = Training(
            network=network,
            optimizer=Optimizer(trainable(network), torch.bfloat16, recipe),
            rows=rows,
            validation=[],
            recipe=recipe,
            device=device,
            world=World(0, 1),
            checkpoints=Path(name) / "checkpoints",
            meter=EnergyMeter(Recipe().cost),
            curves=Curves(Path(name) / METRICS),
        )
        train(training, Silent())
        points = read_curves(Path(name) / METRICS)[WARM:]
    peak = torch.cuda.max_memory_allocated() / 1e6 if device.type == "cuda" else peak_memory_mb()
    speeds = [point["tokens"] / point["seconds"] for point in points]
    done = operations_a_token(shape, weights, [len(row.ids) for row in rows])
    return {"tokens_per_second": speeds, "operations": done, "peak_mb": peak, "loss": points[-1]["loss"]}


def hold_all_logits() -> None:
    """Let the logits of a pass exist whole, as they do where the head is not run in chunks."""
    import carrara.tune.objective as objective

    objective.chunk_size = lambda vocabulary, device: 1 << 30


def random_network(shape: dict[str, Any], device: Any) -> Any:
    """A LLaMA of a shape with random weights in bfloat16, as the loader would hand it over."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from carrara.models import Model
    from carrara.models.load import Loaded

    config = LlamaConfig(**{key: value for key, value in shape.items() if key != "places"})
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        network = LlamaForCausalLM(config)
    torch.set_default_dtype(before)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    nothing: Any = None
    return Loaded(Model("random", Path(), "", None, None, nothing), network.eval(), nothing, device, torch.bfloat16)


def operations_a_token(shape: dict[str, Any], weights: int, lengths: Sequence[int]) -> float:
    """Operations of a forward and a backward pass for a token of such rows, those of LoRA's own weights left out."""
    embedding = shape["vocab_size"] * shape["hidden_size"]
    mean_context = sum(length * length for length in lengths) / sum(lengths) / 2
    attention = 12 * shape["num_hidden_layers"] * shape["hidden_size"] * mean_context
    return 4 * (weights - embedding) + attention


def peer(shape: dict[str, Any], steps: int) -> dict[str, Any]:
    """TRL on the same rows and shape, in the peers' environment or, where that is missing, in this one."""
    lengths = lengths_of_rows(shape["places"], steps)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name) / "work.json"
        work.write_text(json.dumps({"shape": shape, "lengths": lengths, "windows": WINDOWS, "warm": WARM}))
        program = PEERS if PEERS.exists() else sys.executable
        found = in_process([program, ROOT / "peers" / "trl_gpu.py", work, name])
    if "failed" in found:
        return found
    return {**found, "operations": operations_a_token(shape, found["weights"], lengths)}


def report(found: dict[str, dict[str, Any]], rate: float, peak: float | None) -> None:
    """The table; a setting that did not run says why."""
    print("| setting | tokens/s (median, range) | of the measured rate | of the maker's | peak MB |")
    print("|---|---|---|---|---|")
    for name, run in found.items():
        if "failed" in run:
            print(f"| {name} | {run['failed']} | – | – | – |")
            continue
        speeds = run["tokens_per_second"]
        done = statistics.median(speeds) * run["operations"]
        shares = f"{done / rate:.0%} | {done / peak / 1e12:.0%}" if peak else f"{done / rate:.0%} | –"
        spread = f"{statistics.median(speeds):,.0f} ({min(speeds):,.0f} to {max(speeds):,.0f})"
        print(f"| {name} | {spread} | {shares} | {run['peak_mb']:,.0f} |")
    print(f"\nMeasured rate: {rate / 1e12:,.1f} x 10^12 operations a second.")


if __name__ == "__main__":
    main()
