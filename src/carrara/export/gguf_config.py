"""What a GGUF file of the llama architecture says of a model beside weights and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from carrara.errors import Refusal, one_line
from carrara.models.gguf import LLAMA_3_KEY, LLAMA_3_NUMBERS

_ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM")
_KNOWN = {  # what each kind of rotary scaling may say beside its type and base
    "default": set[str](),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {"factor", "original_max_position_embeddings"},
}
_BOUNDS = {"beta_fast": 32, "beta_slow": 1}  # of YaRN; llama.cpp takes no others from a llama file


def read_config(folder: Path) -> Any:
    """The configuration in a folder as transformers completes it; raises Refusal for what a llama GGUF cannot hold."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises what it likes on files that are no configuration
        what = f"{folder / 'config.json'} is no configuration of a known model"
        raise Refusal(f"{what}: {one_line(error, 200)}") from error
    if problem := _problem(config):
        raise Refusal(f"{folder} {problem}, which no GGUF file of the llama family can say; export safetensors.")
    return config


def _problem(config: Any) -> str | None:
    """What of a configuration stands against the llama architecture of GGUF, if anything does."""
    architecture = next(iter(config.architectures or ()), "model of an unknown architecture")
    if architecture not in _ARCHITECTURES:
        return f"holds a {architecture}"
    if getattr(config, "quantization_config", None):
        return "holds weights that are quantised already"
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False):
        return "has biases"
    if config.hidden_act != "silu":
        return f"computes with {config.hidden_act}"
    window = getattr(config, "sliding_window", None)
    if window and window < config.max_position_embeddings:
        return f"attends to a window of {window} tokens"
    rope: Mapping[str, Any] = config.rope_parameters
    kind = rope["rope_type"]
    if kind not in _KNOWN:
        return f"has rope scaling of the kind '{kind}'"
    said = {key for key, value in rope.items() if value not in (None, _BOUNDS.get(key))}
    if surplus := sorted(said - _KNOWN[kind] - {"rope_type", "rope_theta"}):
        return f"has rope scaling '{kind}' with {surplus[0]}"
    return None


def hyperparameters(config: Any) -> dict[str, Any]:
    """The sizes and settings of a model by their names in GGUF."""
    width = head_width(config)
    return {
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.block_count": config.num_hidden_layers,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.key_length": width,
        "llama.attention.value_length": width,
        "llama.attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "llama.vocab_size": config.vocab_size,
        "llama.rope.dimension_count": width,
        **_rope(config),
    }


def head_width(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _rope(config: Any) -> dict[str, Any]:
    """The rotary base and scaling; Llama 3's is a tensor of factors, and what gives them is told for reading back."""
    rope = config.rope_parameters
    fields: dict[str, Any] = {"llama.rope.freq_base": float(rope["rope_theta"])}
    if rope["rope_type"] == "llama3":
        return fields | {LLAMA_3_KEY: [float(rope[name]) for name in LLAMA_3_NUMBERS]}
    if rope["rope_type"] not in ("linear", "yarn"):
        return fields
    fields |= {"llama.rope.scaling.type": rope["rope_type"], "llama.rope.scaling.factor": float(rope["factor"])}
    if rope["rope_type"] == "linear":
        return fields
    original = rope.get("original_max_position_embeddings") or config.max_position_embeddings
    return fields | {"llama.rope.scaling.original_context_length": original}
