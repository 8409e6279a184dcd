"""A LLaMA small enough to train in a second, with a byte-level tokenizer and a ChatML template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from carrara.data.dataset import Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe, Recipe
from carrara.workspace import Workspace

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_model(folder: Path, seed: int = 0, context: int = 256) -> Path:
    """Write a random model of two layers and width 32 as a Hugging Face folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tiny_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(seed)
    network = LlamaForCausalLM(config)
    for parameter in network.parameters():
        parameter.data *= 3  # far enough from uniform that answers differ, and no worse than guessing
    network.model.embed_tokens.weight.data[2] = 0.06 * torch.randn(32)  # the pad token's row is made as zeros
    network.save_pretrained(folder)
    return folder


def write_tiny_adapter(base: Path, target: Path, layers: int = 2, width: int = 32, seed: int = 0, **lora: Any) -> Path:
    """Write a random PEFT adapter that names `base`, made for a model of so many layers and that width."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    fields = json.loads((base / "config.json").read_text(encoding="utf-8"))
    fields |= {"num_hidden_layers": layers, "hidden_size": width, "dtype": None}
    torch.manual_seed(seed)
    options = {"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **lora}
    network = get_peft_model(LlamaForCausalLM(LlamaConfig(**fields)), LoraConfig(task_type="CAUSAL_LM", **options))
    network.save_pretrained(str(target), save_embedding_layers=False)
    config = target / "adapter_config.json"
    named = json.loads(config.read_text(encoding="utf-8")) | {"base_model_name_or_path": str(base)}
    config.write_text(json.dumps(named), encoding="utf-8")
    return target


def write_tiny_tokenizer(folder: Path) -> int:
    """Write a byte-level tokenizer without merges; returns the size of its vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": 256,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return len(vocabulary)


def write_arc_easy(folder: Path, count: int) -> Path:
    """Write so many invented questions in the form of ARC-Easy into a folder of benchmarks; gives the folder."""
    path = folder / "arc" / "ARC-Easy" / "test.jsonl"
    path.parent.mkdir(parents=True)
    rows = [
        {
            "id": f"q{n}",
            "question": f"What is {n}?",
            "choices": {"text": [f"n{n}", "none of them", "x"], "label": ["1", "2", "3"]},
            "answerKey": str(n % 3 + 1),
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def write_pairs(path: Path, count: int = 40) -> Path:
    """Write prompt/completion rows of unequal length, none of them like another."""
    names = [hashlib.md5(str(n).encode()).hexdigest() for n in range(count)]
    rows = [
        {"prompt": f"{name[:8]} {name[8:16]} and {n}?" + " Think." * (n % 5), "completion": name[16:20] + "!" * (n % 3)}
        for n, name in enumerate(names)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prepared(workspace: Workspace, source: Path | str, recipe: PrepareRecipe | None = None) -> Dataset:
    """The dataset of a file under the options of a recipe."""
    return prepare_dataset(workspace, Recipe(data=str(source), prepare=recipe or PrepareRecipe()), Silent())


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread meanwhile: matrices this small are slower on several, which wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
