"""One epoch with LLaMA-Factory on prompt/completion rows; prints seconds and peak memory as JSON.

`--best` puts the fastest settings found for a processor over the defaults. (The allocator's come from the environment,
which `train.py` sets.) Either way AdamW without weight decay, gradients clipped to a norm of 1, linear decay and no
warm-up.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

from peak import peak_mb

BEST: dict[str, Any] = {
    "bf16": True,
    "disable_gradient_checkpointing": True,
    "train_sampling_strategy": "group_by_length",
    # Its template ends the model's system prompt with a full stop that the model's own template does not have.
    "default_system": "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("rows", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--best", action="store_true")
    arguments = parser.parse_args()
    _pretend_audio()
    from llamafactory.train.tuner import run_exp

    passes = 2 if arguments.best else 1  # of half the batch, which is faster on a processor and takes less memory
    adapter = {"lora_rank": 16, "lora_alpha": 32, "lora_target": "all"} if arguments.method == "lora" else {}
    run_exp(
        {
            "model_name_or_path": arguments.model,
            "stage": "sft",
            "do_train": True,
            "finetuning_type": arguments.method,
            "template": "smollm2",
            "dataset_dir": str(_write_dataset(arguments.rows, Path("data"))),
            "dataset": "rows",
            "output_dir": str(arguments.output),
            "num_train_epochs": 1,
            "per_device_train_batch_size": arguments.batch // passes,
            "gradient_accumulation_steps": passes,
            "learning_rate": arguments.learning_rate,
            "seed": arguments.seed,
            "report_to": "none",
            "save_strategy": "no",
            "use_cpu": True,
            **adapter,
            **(BEST if arguments.best else {}),
        }
    )
    found = json.loads((arguments.output / "train_results.json").read_text(encoding="utf-8"))
    print(json.dumps({"seconds": found["train_runtime"], "peak_mb": peak_mb()}))


def _pretend_audio() -> None:
    """An empty torchaudio: LLaMA-Factory imports it for text too, and its builds do not fit a CPU build of torch."""
    module = types.ModuleType("torchaudio")
    module.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
    sys.modules["torchaudio"] = module


def _write_dataset(rows: Path, folder: Path) -> Path:
    """The rows with the field names that LLaMA-Factory expects, and its registry of datasets."""
    folder.mkdir()
    pairs = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    named = [{"instruction": pair["prompt"], "input": "", "output": pair["completion"]} for pair in pairs]
    (folder / "rows.json").write_text(json.dumps(named), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}), encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
