"""Tokens per second of one answer: llama.cpp's engine against transformers' own `generate` in bfloat16.

    .venv/bin/python benchmarks/decode.py [--quantization q8_0] [--tokens 96] [--turns 6]
`generate` runs as it comes, in a process of its own before each turn, and with the allocator that Carrara gives itself.
All write the same number of tokens behind the same prompts, turn by turn, so that what else the machine does falls on
all alike. Reading the prompt is not counted: it ends with the first token.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from side_by_side import PEERS, ROOT, ratio, require_peers, run_json

from carrara.data.example import Message
from carrara.data.render.example import render_prompt
from carrara.export.gguf import QUANTIZATIONS
from carrara.models import resolve_model
from carrara.models.load import Loaded, load_model
from carrara.progress import Silent
from carrara.serve.engine import ChatRequest, Engine
from carrara.serve.engines import open_engine
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


def as_it_comes(model: Path, prompt: str, tokens: int) -> float:
    """Tokens per second behind the first, in a process that sets nothing."""
    return run_json([PEERS, ROOT / "peers" / "generate.py", model, prompt, "--tokens", str(tokens)])["rates"][0]


def main() -> None:
    """Print a row for each way; `--workspace` is where the model is, or is put."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--quantization", choices=QUANTIZATIONS, default="q8_0")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--turns", type=int, default=6)
    options = parser.parse_args()
    require_peers()
    workspace = open_workspace(options.workspace)
    model = resolve_model(workspace, options.model, Silent())
    loaded = load_model(model, "bfloat16")
    engine = open_engine("llamacpp", {"m": model}, workspace, "auto", Silent(), options.quantization)
    ours = f"llama.cpp, {options.quantization}"
    ways: dict[str, Callable[[str], float]] = {
        ours: lambda prompt: by_engine(engine, "m", prompt, options.tokens),
        "generate, our allocator": lambda prompt: by_generate(loaded, prompt, options.tokens),
        "generate as it comes": lambda prompt: as_it_comes(model.path, prompt, options.tokens),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    try:
        for turn in range(options.turns + 1):  # the first warms up
            for name, way in ways.items():
                rates[name].append(way(PROMPTS[turn % len(PROMPTS)]))
    finally:
        engine.close()
    print("| decoding | tokens/s (median, range) | llama.cpp is |\n|---|---|---|")
    for name, (_, *found) in rates.items():
        faster = "–" if name == ours else f"{ratio(rates[ours][1:], found)} faster"
        print(f"| {name} | {statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f}) | {faster} |")


if __name__ == "__main__":
    main()
