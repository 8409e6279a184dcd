"""Decoding by transformers' own `generate` as it comes, in bfloat16; prints tokens per second behind the first."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--tokens", type=int, default=96)
    arguments = parser.parse_args()
    tokenizer: Any = AutoTokenizer.from_pretrained(arguments.model)
    network: Any = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.bfloat16)
    rates: list[float] = []
    for prompt in (arguments.prompts[0], *arguments.prompts):
        messages = [{"role": "user", "content": prompt}]
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )

        def took(count: int, inputs: Any = inputs) -> float:
            began = time.perf_counter()
            network.generate(**inputs, do_sample=False, min_new_tokens=count, max_new_tokens=count)
            return time.perf_counter() - began

        first = took(1)
        rates.append((arguments.tokens - 1) / (took(arguments.tokens) - first))
    print(json.dumps({"rates": rates[1:]}))  # the first warms up


if __name__ == "__main__":
    main()
