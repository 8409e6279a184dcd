"""A tiny model twice: as transformers holds it, and as llama.cpp's converter would write it into a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, dequantize, quantize
from transformers import LlamaConfig, LlamaForCausalLM

from tests.tiny import CHAT_TEMPLATE

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = ("Ċ Ċ", "Ġ b", "Ġ Ġ", "1 2")
HEADS, KV_HEADS = 4, 2
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def vocabulary() -> list[str]:
    """Special tokens, the letters of the byte-level alphabet, and the merged pieces."""
    from tokenizers import pre_tokenizers

    return [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]


def make_network(tied: bool = True, seed: int = 0, width: int = 32) -> Any:
    """A random network of two layers with grouped query heads, every norm away from one."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
        tie_word_embeddings=tied,
    )
    network = LlamaForCausalLM(config).eval()
    for parameter in network.parameters():
        parameter.data = parameter.data * 4 + 0.01 * torch.randn_like(parameter)
    return network


def write_gguf(path: Path, network: Any, kind: str = "F32", changes: Mapping[str, Any] | None = None) -> Path:
    """Write `network` with its matrices stored as `kind`. `changes` replace metadata; a value None leaves it away.

    `architecture`, `tensors` (more tensors by name) and `without` (a tensor's name) change other things.
    """
    config, changes = network.config, dict(changes or {})
    writer = GGUFWriter(path, changes.pop("architecture", "llama"))
    more, without = changes.pop("tensors", {}), changes.pop("without", None)
    metadata: dict[str, Any] = {
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.block_count": config.num_hidden_layers,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.rope.freq_base": config.rope_parameters["rope_theta"],
        "llama.rope.dimension_count": config.head_dim,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": vocabulary(),
        "tokenizer.ggml.token_type": [
            int(TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL) for token in vocabulary()
        ],
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
    for key, value in (metadata | changes).items():
        if value is not None:
            _add(writer, key, value)
    tensors = {_gguf_name(name): _permuted(name, value.numpy()) for name, value in _weights(network).items()} | more
    for name, values in tensors.items():
        if name != without:
            _add_tensor(writer, name, values, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def as_stored(network: Any, kind: str) -> Any:
    """A copy of the network whose matrices went through the storage type and back."""
    other = make_network(network.config.tie_word_embeddings)
    weights = {name: torch.from_numpy(_through(value.numpy(), kind)) for name, value in _weights(network).items()}
    other.load_state_dict(weights, strict=False)
    return other


def _weights(network: Any) -> dict[str, torch.Tensor]:
    """The weights that a file holds: a tied head is the embedding and is not stored."""
    skipped = ("lm_head.weight",) if network.config.tie_word_embeddings else ()
    return {name: value.detach() for name, value in network.state_dict().items() if name not in skipped}


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    else:
        writer.add_array(key, value)


def _add_tensor(writer: GGUFWriter, name: str, values: np.ndarray, kind: str) -> None:
    if kind == "F32" or values.ndim == 1:
        writer.add_tensor(name, values)
    elif kind == "F16":
        writer.add_tensor(name, values.astype(np.float16))
    else:
        stored = GGMLQuantizationType[kind]
        writer.add_tensor(name, quantize(values, stored), raw_dtype=stored)


def _through(values: np.ndarray, kind: str) -> np.ndarray:
    if kind == "F32" or values.ndim == 1:
        return values
    if kind == "F16":
        return values.astype(np.float16).astype(np.float32)
    stored = GGMLQuantizationType[kind]
    return dequantize(quantize(values, stored), stored)


def _gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem.startswith("model.layers."):
        _, _, index, rest = stem.split(".", 3)
        return f"blk.{index}.{_NAMES[rest]}.weight"
    return f"{_NAMES[stem]}.weight"


def _permuted(name: str, rows: np.ndarray) -> np.ndarray:
    """llama.cpp's order of the query and key rows, written as its converter writes it."""
    heads = HEADS if "q_proj" in name else KV_HEADS if "k_proj" in name else None
    if heads is None:
        return rows
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(rows.shape))
