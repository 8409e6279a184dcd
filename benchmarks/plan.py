"""The planner beside what happened: memory and time of real runs over methods, models, lengths, formats and settings.

    .venv/bin/python benchmarks/plan.py [--fit] [--limit N] [--records FILE]
Each configuration trains a few steps of a random model, in a process of its own, through the same call as `carrara
tune`. Every third configuration, and all of one shape, are held out: `--fit` fits the constants of
`carrara/models/fitted.py` to the others, prints them to be pasted there, and judges them on both parts. FILE keeps what
was measured, and is gone on with.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import plan_fit

from carrara.data.dataset import Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.data.render.dataset import render_usable
from carrara.data.render.plan import count_work, lengths_of
from carrara.models import resolve_model
from carrara.models.load import load_tokenizer
from carrara.models.machine import choose_device, choose_dtype, prepare_for_heavy_work
from carrara.models.rates import measure_rates
from carrara.models.shape import shape_of
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe, Recipe, TuneRecipe
from carrara.tune.run import tune_model
from carrara.workspace import Workspace

# layers, width, heads, heads of keys, width between, vocabulary, tied; 135m is the shape of SmolLM2-135M
MODELS = {
    "5m": (4, 256, 4, 2, 704, 8192, True),
    "30m": (8, 512, 8, 4, 1408, 16384, True),
    "80m": (12, 640, 10, 10, 1728, 32000, False),
    "135m": (30, 576, 9, 3, 1536, 49152, True),
    "300m": (22, 1024, 16, 4, 2816, 32000, True),
}
HELD_OUT = "80m"
ROWS = {"short": (30, 90, 1200), "middle": (100, 300, 500), "long": (500, 900, 150), "mixed": (20, 1000, 400)}
SECONDS = 6.0  # of training for each configuration, as a guess

# model, method, rows, and what differs from bfloat16 with passes of 1,024 places, batches of 8 and kept activations
GRID: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("135m", "lora", "middle", {}),
    ("135m", "lora", "short", {}),
    ("135m", "lora", "middle", {"micro_batch_tokens": 2048, "batch_size": 16}),
    ("135m", "lora", "long", {"rank": 64}),
    ("135m", "full", "middle", {}),
    ("135m", "full", "middle", {"batch_size": 32}),
    ("135m", "lora", "middle", {"dtype": "float32"}),
    ("135m", "full", "short", {"dtype": "float32"}),
    ("135m", "ia3", "middle", {}),
    ("135m", "prompt", "middle", {}),
    ("135m", "lora", "mixed", {"checkpoint_activations": True}),
    ("135m", "lora", "middle", {"micro_batch_tokens": 512}),
    ("135m", "prefix", "middle", {}),
    ("135m", "full", "mixed", {"checkpoint_activations": True, "micro_batch_tokens": 2048}),
    ("135m", "lora", "long", {"micro_batch_tokens": 4096, "batch_size": 16}),
    ("135m", "lora", "middle", {"rank": 4, "targets": ["q_proj", "v_proj"]}),
    ("30m", "lora", "middle", {}),
    ("30m", "full", "middle", {}),
    ("30m", "full", "mixed", {"micro_batch_tokens": 4096}),
    ("30m", "lora", "long", {"dtype": "float32"}),
    ("30m", "full", "short", {"dtype": "float32", "batch_size": 32}),
    ("30m", "ia3", "short", {"micro_batch_tokens": 2048, "batch_size": 32}),
    ("30m", "prompt", "long", {}),
    ("30m", "lora", "short", {"rank": 64, "micro_batch_tokens": 512}),
    ("5m", "lora", "middle", {"batch_size": 32, "micro_batch_tokens": 4096}),
    ("5m", "full", "middle", {"batch_size": 16}),
    ("5m", "full", "long", {"dtype": "float32", "micro_batch_tokens": 2048}),
    ("5m", "lora", "short", {"dtype": "float32", "batch_size": 16}),
    ("300m", "lora", "middle", {}),
    ("300m", "full", "short", {"batch_size": 16}),
    ("300m", "lora", "long", {"micro_batch_tokens": 2048, "batch_size": 4}),
    ("300m", "lora", "middle", {"checkpoint_activations": True, "micro_batch_tokens": 2048, "batch_size": 16}),
    ("80m", "lora", "middle", {}),
    ("80m", "full", "mixed", {}),
    ("80m", "lora", "short", {"dtype": "float32"}),
    ("80m", "full", "long", {"micro_batch_tokens": 2048, "batch_size": 4}),
    ("80m", "ia3", "middle", {"micro_batch_tokens": 512}),
    ("80m", "lora", "long", {"rank": 64, "batch_size": 4, "micro_batch_tokens": 4096}),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--limit", type=int, default=len(GRID))
    parser.add_argument("--records", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a configuration, in the process that measures it
    parser.add_argument("--ground", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_measure(json.loads(arguments.one), arguments.ground)))
        return
    records = _read(arguments.records)
    with tempfile.TemporaryDirectory() as name:
        _measure_all(Path(name), arguments.limit, records, arguments.records)
    plan_fit.report(list(records.values()), HELD_OUT, arguments.fit)


def _read(path: Path | None) -> dict[str, dict[str, Any]]:
    """What an earlier run measured, by configuration."""
    if path is None or not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {record["name"]: record for record in map(json.loads, lines)}


def _measure_all(ground: Path, limit: int, records: dict[str, dict[str, Any]], kept: Path | None) -> None:
    """Measure every configuration that has no record yet."""
    began = time.monotonic()
    for number, (model, method, rows, changed) in enumerate(GRID[:limit], 1):
        name = " ".join([model, method, rows, *(f"{key}={value}" for key, value in changed.items())])
        if name in records:
            continue
        _write_ground(ground, model, rows)
        one = {"name": name, "number": number, "model": model, "rows": rows, "tune": {"method": method, **changed}}
        command = [sys.executable, __file__, "--one", json.dumps(one), "--ground", str(ground)]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if result.returncode:
            print(f"{name} failed: {result.stderr.strip()[-500:]}", file=sys.stderr)
            continue
        records[name] = json.loads(result.stdout.splitlines()[-1])
        print(f"{number}/{limit} {name} ({time.monotonic() - began:.0f} s)", file=sys.stderr)
        if kept:
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(records[name]) + "\n")


# --------------------------------------------------------------------------------- in the process that is measured


def _measure(one: Mapping[str, Any], ground: Path) -> dict[str, Any]:
    """Train one configuration; what the planner is told beforehand, and what it came to."""
    prepare_for_heavy_work()
    workspace = Workspace(ground / "workspace")
    model = resolve_model(workspace, str(ground / one["model"]), Silent())
    shape, parameters = shape_of(workspace, str(ground / one["model"]), Silent())
    settled = {
        "dtype": "bfloat16",
        "batch_size": 8,
        "checkpoint_activations": False,
        "batching": "sorted",
        "allow": ("vocabulary", "untrained-tokens"),
    }  # a tokenizer of bytes on weights that learned nothing
    dataset = _prepare(workspace, ground, one["rows"])
    rows = [render_usable(dataset, split, load_tokenizer(model), 2048, Silent()) for split in ("train", "validation")]
    lengths = lengths_of(rows[0], rows[1])
    tune = TuneRecipe.model_validate(settled | one["tune"])
    tune = tune.model_copy(update={"epochs": _epochs(parameters, tune, sum(lengths.train), len(lengths.train))})
    rates = measure_rates(choose_device(), choose_dtype(tune.dtype), tuple(shape.linears().values()), 1024)
    with tempfile.TemporaryDirectory(dir=ground) as own:  # a run of every weight is large
        ledger = tune_model(Workspace(Path(own)), model, dataset, Recipe(tune=tune), Silent()).ledger
    return {
        "name": one["name"],
        "number": one["number"],
        "model": one["model"],
        "shape": shape.model_dump(),
        "parameters": parameters,
        "tune": tune.model_dump(mode="json"),
        "work": asdict(count_work(lengths, tune)),
        "rates": asdict(rates),
        "device": choose_device().type,
        "memory": ledger.peak_memory_mb * 1e6,
        "seconds": ledger.seconds + ledger.validation_seconds,
    }


def _epochs(parameters: int, tune: TuneRecipe, tokens: int, rows: int) -> float:
    """So many epochs as take about `SECONDS`, three steps at least."""
    rate = 250e9 if tune.dtype == "bfloat16" else 100e9
    wanted = SECONDS * rate / (parameters * (6 if tune.method == "full" else 4))
    return min(4.0, max(wanted / tokens, 3 * tune.batch_size / rows))


# ----------------------------------------------------------------------------------------------------- what is learned


def _write_ground(ground: Path, model: str, rows: str) -> None:
    """The rows, prepared, since that takes memory of its own; and a random model with a tokenizer of bytes."""
    path = ground / f"{rows}.jsonl"
    if not path.exists():
        _write_rows(path, *ROWS[rows])
        _prepare(Workspace(ground / "workspace"), ground, rows)
    if not (ground / model).exists():
        _write_model(ground / model, MODELS[model])


def _prepare(workspace: Workspace, ground: Path, rows: str) -> Dataset:
    prepare = PrepareRecipe(test=0, validation=0.03)
    return prepare_dataset(workspace, Recipe(data=str(ground / f"{rows}.jsonl"), prepare=prepare), Silent())


def _write_rows(path: Path, shortest: int, longest: int, count: int) -> None:
    """Rows of random letters; a letter is a token, and a third of each row is learned."""
    chance = random.Random(0)
    pairs = []
    for _ in range(count):
        letters = max(9, chance.randint(shortest, longest) - 40)  # the template takes about forty
        text = "".join(chance.choices("abcdefghij klmnopqrs tuvwxyz ", k=letters)).replace(" ", " x")[:letters]
        pairs.append({"prompt": "q" + text[: letters * 2 // 3], "completion": "a" + text[letters * 2 // 3 :]})
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")


def _write_model(folder: Path, sizes: tuple[int, int, int, int, int, int, bool]) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.tiny import write_tiny_tokenizer

    layers, width, heads, kv_heads, between, vocabulary, tied = sizes
    folder.mkdir(parents=True)
    write_tiny_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=between,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=2048,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    main()
