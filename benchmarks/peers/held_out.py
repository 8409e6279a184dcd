"""The loss of tuned models on rows that none has seen, all judged alike; prints JSON.

    held_out.py MODEL ROWS RESULT...
Every row is rendered with the model's own template; the loss is the mean over the tokens of the completions (the end of
the turn among them), in float32, by plain transformers. A RESULT is a PEFT adapter or a folder of weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

ROWS_AT_ONCE = 4


def main(model: str, rows: str, *results: str) -> None:
    examples = render(model, Path(rows))
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    weights = sum(parameter.numel() for parameter in base.parameters())
    if not base.config.tie_word_embeddings:
        weights -= base.get_input_embeddings().weight.numel()  # looking up an embedding is free
    losses = {result: mean_loss(_tuned(model, result), examples) for result in results}
    print(json.dumps({"weights": weights, "base": mean_loss(base, examples), "losses": losses}))


def render(model: str, rows: Path) -> list[tuple[list[int], int]]:
    """Each row's token ids and how many of them are its prompt, the shortest rows first."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    examples: list[tuple[list[int], int]] = []
    for row in map(json.loads, rows.read_text(encoding="utf-8").splitlines()):
        asked = [{"role": "user", "content": row["prompt"]}]
        answered = [*asked, {"role": "assistant", "content": row["completion"]}]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        whole = tokenizer.apply_chat_template(answered, tokenize=False).rstrip()  # ends with the end of the turn
        assert whole.startswith(prompt)
        ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
        examples.append((ids, len(tokenizer(prompt, add_special_tokens=False)["input_ids"])))
    return sorted(examples, key=lambda example: len(example[0]))


@torch.inference_mode()
def mean_loss(network: Any, examples: list[tuple[list[int], int]]) -> float:
    """The mean negative log-likelihood in nats per token of the completions."""
    network.eval()
    total, count = 0.0, 0
    for start in range(0, len(examples), ROWS_AT_ONCE):
        part = examples[start : start + ROWS_AT_ONCE]
        longest = max(len(ids) for ids, _ in part)
        ids = torch.tensor([row + [0] * (longest - len(row)) for row, _ in part])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row, _ in part])
        labels = ids.masked_fill(mask == 0, -100)
        for place, (_, prompt) in enumerate(part):
            labels[place, :prompt] = -100
        logits = network(input_ids=ids, attention_mask=mask).logits[:, :-1]
        learned = labels[:, 1:] != -100
        wanted = labels[:, 1:][learned]
        total += torch.nn.functional.cross_entropy(logits[learned], wanted, reduction="sum").item()
        count += len(wanted)
    return total / count


def _tuned(model: str, result: str) -> Any:
    if not (Path(result) / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(result, dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return PeftModel.from_pretrained(base, result).merge_and_unload()


if __name__ == "__main__":
    main(*sys.argv[1:])
