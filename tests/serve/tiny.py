"""A LLaMA small enough to be made in a test: random weights, a byte-level tokenizer, a ChatML template."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from gguf import GGUFWriter, TokenType
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from carrara.models import Model
from carrara.models.sources import digest_of_adapter
from carrara.workspace import Artefact, digest_of_file
from tests.models.tiny_gguf import _gguf_name, _permuted, write_gguf

CONTEXT = 256
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_TEXT = ["user assistant system hello, where is the marble quarry of Carrara? It is in Tuscany, in Italy."] * 4


def make_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, saved into `folder`."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(_TEXT, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<|im_start|>", eos_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_base(folder: Path, seed: int = 0, bias: bool = False) -> Model:
    """A random model with weights large enough that its answers differ from prompt to prompt."""
    tokenizer = make_tokenizer(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.7,
        tie_word_embeddings=False,
        attention_bias=bias,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return model_at(folder, None)


def make_adapter(base: Path, folder: Path, seed: int, bias: str = "none") -> Model:
    """A LoRA adapter that was trained for a few steps to say something of its own."""
    torch.manual_seed(seed)
    network = LlamaForCausalLM.from_pretrained(base)
    settings = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM", bias=bias)  # type: ignore[arg-type]
    tuned = get_peft_model(network, settings)
    optimizer = torch.optim.Adam([p for p in tuned.parameters() if p.requires_grad], lr=0.05)
    ids = torch.randint(4, network.config.vocab_size, (4, 24))
    for _ in range(5):
        tuned(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tuned.save_pretrained(str(folder))
    return model_at(base, folder)


def model_at(base: Path, adapter: Path | None) -> Model:
    """The Model of a folder, as `resolve_model` would give it."""
    source = Artefact("model", base.name, base.name, base, {}, {}, {}, {}, "2026-01-01T00:00:00+00:00")
    digest = digest_of_file(base / "model.safetensors")
    return Model(base.name, base, digest, adapter, digest_of_adapter(adapter) if adapter else None, source)


def base_as_gguf(model: Model, path: Path, kind: str = "F32") -> Path:
    """The base of a model that `make_base` made, as a GGUF file."""
    held = json.loads((model.path / "tokenizer.json").read_text())["model"]
    tokens = sorted(held["vocab"], key=held["vocab"].get)
    changes = {
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [int(TokenType.CONTROL if t[:2] == "<|" else TokenType.NORMAL) for t in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in held["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": None,
    }
    return write_gguf(path, LlamaForCausalLM.from_pretrained(model.path), kind, changes)


def adapter_as_gguf(model: Model, path: Path) -> Path:
    """The LoRA adapter of a model, as a GGUF file; the rows of B are permuted as those of the weight are."""
    assert model.adapter is not None
    writer = GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    settings = json.loads((model.adapter / "adapter_config.json").read_text())
    writer.add_float32("adapter.lora.alpha", float(settings["lora_alpha"]))
    for name, values in load_file(model.adapter / "adapter_model.safetensors").items():
        stem, _, part = name.removeprefix("base_model.model.").partition(".lora_")
        side = part[0].lower()
        writer.add_tensor(f"{_gguf_name(stem)}.lora_{side}", _permuted(stem, values) if side == "b" else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
