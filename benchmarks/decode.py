"""Tokens per second of one answer: llama.cpp's engine against transformers' own `generate` in bfloat16.

Both write the same number of tokens behind the same prompts, turn by turn, so that what else the machine does falls on
both alike; the median of the turns counts. Reading the prompt is not counted: it ends with the first token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from carrara.data.example import Message
from carrara.data.render.example import render_prompt
from carrara.models import resolve_model
from carrara.models.load import Loaded, load_model
from carrara.progress import Silent
from carrara.serve.engine import ChatRequest, Engine
from carrara.serve.engines import QUANTIZATIONS, open_engine
from carrara.workspace import open_workspace

PROMPTS = ("Tell me about the marble of Carrara.", "Write a story about a quarry.", "How is bread baked?")


def by_engine(engine: Engine, name: str, prompt: str, tokens: int) -> float:
    """Tokens per second behind the first."""
    request = ChatRequest(model=name, messages=(Message("user", prompt),), max_tokens=tokens, temperature=0.0)
    pieces = engine.answer(request, lambda: False)
    next(pieces)
    began = time.perf_counter()
    last = list(pieces)[-1]
    assert last.completion_tokens is not None
    return (last.completion_tokens - 1) / (time.perf_counter() - began)


def by_generate(loaded: Loaded, prompt: str, tokens: int) -> float:
    """Tokens per second behind the first, which `generate` is asked for alone."""
    import torch

    ids = torch.tensor([render_prompt(loaded.tokenizer, (Message("user", prompt),))])

    def took(count: int) -> tuple[int, float]:
        began = time.perf_counter()
        with torch.inference_mode():
            output = loaded.network.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count,
                pad_token_id=loaded.tokenizer.eos_token_id,
            )  # fmt: skip
        return output.shape[1] - ids.shape[1], time.perf_counter() - began

    _, first = took(1)
    count, whole = took(tokens)
    return (count - 1) / (whole - first)


def in_turns(ways: dict[str, Callable[[str], float]], prompts: Sequence[str], turns: int) -> dict[str, list[float]]:
    """The rates of each way, one after the other in each turn."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns):
        for name, way in ways.items():
            rates[name].append(way(prompts[turn % len(prompts)]))
    return rates


def main() -> None:
    """Print the rates as JSON; `--workspace` is where the model is, or is put."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="q8_0")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--turns", type=int, default=6)
    options = parser.parse_args()
    workspace = open_workspace(options.workspace)
    model = resolve_model(workspace, options.model, Silent())
    loaded = load_model(model, "bfloat16")
    engine = open_engine("llamacpp", {"m": model}, workspace, "auto", Silent(), options.quantization)
    try:
        ways: dict[str, Callable[[str], float]] = {
            "llamacpp": lambda prompt: by_engine(engine, "m", prompt, options.tokens),
            "generate": lambda prompt: by_generate(loaded, prompt, options.tokens),
        }
        in_turns(ways, PROMPTS, 1)  # warms both up
        rates = in_turns(ways, PROMPTS, options.turns)
    finally:
        engine.close()
    medians = {name: round(statistics.median(each), 1) for name, each in rates.items()}
    told: dict[str, Any] = {"tokens_per_second": medians, "all": rates, "quantization": options.quantization}
    told["times"] = round(medians["llamacpp"] / medians["generate"], 1)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
