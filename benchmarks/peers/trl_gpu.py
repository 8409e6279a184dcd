"""LoRA with TRL's SFTTrainer, packed, with Liger kernels if they are there, on a random LLaMA; prints JSON.

    trl_gpu.py WORK.json OUTPUT
WORK holds the shape, the lengths of the rows, the passes to a step and the steps not to count.
"""

from __future__ import annotations

import importlib.util
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peak import peak_mb
from peft import LoraConfig
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """The moment at the end of each step, and the tokens that it has learned by then."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def on_step_end(self, *arguments: Any, **named: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.moments.append(time.monotonic())


def main(source: str, output: str) -> None:
    work = json.loads(Path(source).read_text(encoding="utf-8"))
    shape, on_gpu = work["shape"], torch.cuda.is_available()
    draw = random.Random(1)
    rows = [[draw.randrange(shape["vocab_size"]) for _ in range(length)] for length in work["lengths"]]
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if on_gpu else "cpu"):
        network = LlamaForCausalLM(LlamaConfig(**{key: value for key, value in shape.items() if key != "places"}))
    torch.set_default_dtype(torch.float32)
    weights = sum(parameter.numel() for parameter in network.parameters())
    flash = importlib.util.find_spec("flash_attn") or importlib.util.find_spec("kernels")
    if flash and on_gpu:  # without it packed rows read each other, which TRL only warns of
        network.set_attn_implementation("flash_attention_2")
    config = SFTConfig(
        output_dir=output,
        num_train_epochs=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=work["windows"],
        max_length=shape["places"],
        packing=True,
        bf16=True,
        use_liger_kernel=on_gpu and importlib.util.find_spec("liger_kernel") is not None,
        report_to=[],
        save_strategy="no",
        use_cpu=not on_gpu,
    )
    clock = Clock()
    trainer = SFTTrainer(
        model=network,
        args=config,
        train_dataset=Dataset.from_dict({"input_ids": rows}),
        processing_class=_tokenizer(),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[clock],
    )
    tokens = sum(work["lengths"]) / max(1, len(trainer.train_dataset) / work["windows"])  # of a step, on average
    trainer.train()
    seconds = [after - before for before, after in zip(clock.moments, clock.moments[1:], strict=False)]
    peak = torch.cuda.max_memory_allocated() if on_gpu else peak_mb() * 1e6
    speeds = [tokens / second for second in seconds[work["warm"] - 1 : -1]]  # the last step may hold fewer passes
    print(json.dumps({"weights": weights, "tokens_per_second": speeds, "peak_mb": peak / 1e6}))


def _tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that is never asked for more than its padding token."""
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<pad>")


if __name__ == "__main__":
    main(*sys.argv[1:])
