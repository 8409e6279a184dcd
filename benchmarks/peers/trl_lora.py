"""LoRA with TRL's SFTTrainer on prompt/completion rows; prints tokens, seconds and peak memory as JSON.

`--best` uses the best settings found for it on a CPU: bfloat16 weights without autocast, rows grouped by length.
(The allocator's settings come from the environment, which `train.py` sets.)
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("rows")
    parser.add_argument("--best", action="store_true")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in Path(arguments.rows).read_text(encoding="utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    best = {"bf16": False, "train_sampling_strategy": "group_by_length"} if arguments.best else {}
    config = SFTConfig(
        output_dir="trl-output",
        num_train_epochs=1,
        per_device_train_batch_size=8,
        learning_rate=2e-4,
        seed=0,
        report_to=[],
        save_strategy="no",
        logging_steps=1000,
        use_cpu=True,
        **best,
    )
    dtype = torch.bfloat16 if arguments.best else torch.float32
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(arguments.model, dtype=dtype),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"tokens": tokens, "seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    main()
