"""One epoch with TRL's SFTTrainer on prompt/completion rows; prints tokens, seconds and peak memory as JSON.

`--best` puts the fastest settings found for a processor over the defaults. (The allocator's come from the environment,
which `train.py` sets.) Either way AdamW without weight decay, gradients clipped to a norm of 1, linear decay and no
warm-up.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from datasets import Dataset
from peak import peak_mb
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

# As it comes TRL computes in bfloat16 by autocast from float32 weights and recomputes activations in the backward pass.
BEST: dict[str, dict[str, Any]] = {
    "lora": {
        "model_init_kwargs": {"dtype": "bfloat16"},
        "gradient_checkpointing": False,
        "train_sampling_strategy": "group_by_length",
    },
    "full": {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("rows", type=Path)
    parser.add_argument("output")
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--best", action="store_true")
    arguments = parser.parse_args()
    passes = 2 if arguments.best else 1  # of half the batch, which is faster on a processor and takes less memory
    config = SFTConfig(
        output_dir="trainer",
        num_train_epochs=1,
        per_device_train_batch_size=arguments.batch // passes,
        gradient_accumulation_steps=passes,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        **(BEST[arguments.method] if arguments.best else {}),
    )
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=arguments.model,
        args=config,
        train_dataset=Dataset.from_list([_turns(line) for line in arguments.rows.read_text("utf-8").splitlines()]),
        processing_class=AutoTokenizer.from_pretrained(arguments.model),
        peft_config=adapter if arguments.method == "lora" else None,
    )
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    trainer.save_model(arguments.output)
    print(json.dumps({"tokens": tokens, "seconds": seconds, "peak_mb": peak_mb()}))


def _turns(line: str) -> dict[str, list[dict[str, str]]]:
    """A row as turns of a chat, which TRL renders with the model's template."""
    row = json.loads(line)
    return {
        "prompt": [{"role": "user", "content": row["prompt"]}],
        "completion": [{"role": "assistant", "content": row["completion"]}],
    }


if __name__ == "__main__":
    main()
