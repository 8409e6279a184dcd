"""The one place that turns a model's folder into a network and a tokenizer."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.models.machine import choose_device, choose_dtype, prepare_for_heavy_work
from carrara.models.model import Model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_EMBEDDINGS = ("embed_tokens.weight", "lm_head.weight")


@dataclass(frozen=True)
class Loaded:
    """A network in evaluation mode on its device, with its tokenizer. `network` may be a PEFT model."""

    model: Model
    network: Any
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype

    @property
    def context(self) -> int:
        """The most tokens the model can hold at once."""
        return context_of(self.model)

    @property
    def window(self) -> int | None:
        """The sliding attention window, if the model has one."""
        return window_of(self.model)


def load_model(model: Model, dtype: str = "auto") -> Loaded:
    """Load weights (and the adapter, un-merged, if the model has one); raises Refusal if they do not fit together."""
    prepare_for_heavy_work()
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    precision = choose_dtype(dtype)
    device = choose_device()
    try:
        loader: Any = AutoModelForCausalLM
        network, report = loader.from_pretrained(
            model.path,
            dtype=precision,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:  # transformers raises what it likes on files that are no model
        raise Refusal(f"{model.path} cannot be loaded as a causal language model: {_short(error)}") from error
    _check_weights(report, model.path)
    if model.adapter:
        network = _with_adapter(network, model.path, model.adapter)
    network.to(device).eval()
    for parameter in network.parameters():  # not network.to(dtype), which would round the rotary frequencies too
        parameter.data = parameter.data.to(precision)
        parameter.requires_grad_(False)
    return Loaded(model, network, load_tokenizer(model), device, precision)


def window_of(model: Model) -> int | None:
    """The model's sliding attention window in tokens, None if it sees its whole context."""
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    window = config.get("sliding_window")
    return int(window) if window and config.get("use_sliding_window", True) else None


def _check_weights(report: Mapping[str, Any], path: Path) -> None:
    """Refuse a model whose files lack weights, which would otherwise be filled with random numbers."""
    missing = sorted(report["missing_keys"])
    mismatched = sorted(key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"])
    for keys, what in ((missing, "lacks the weights"), (mismatched, "holds another size than its config.json of")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise Refusal(f"{path} {what} {keys[0]}{more}; fetch the model again.")


def context_of(model: Model) -> int:
    """The most tokens the model can hold at once, as its configuration says; 2048 where it is silent."""
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings") or 2048)


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, from its folder."""
    return tokenizer_in(model.path)


def tokenizer_in(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that a model's folder holds."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # bare ones among them
        raise Refusal(f"{folder}: the tokenizer cannot be loaded: {_short(error)}") from error


def _with_adapter(network: Any, base: Path, adapter: Path) -> Any:
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below
            adapted = PeftModel.from_pretrained(network, adapter, local_files_only=True)
    except (ValueError, OSError, RuntimeError, KeyError, TypeError) as error:
        raise Refusal(f"the adapter {adapter} does not fit {base}: {_short(error)}") from error
    with safe_open(adapter / "adapter_model.safetensors", framework="numpy") as file:
        stored = set(file.keys())
    expected = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    surplus = {key for key in stored - expected if not key.endswith(_EMBEDDINGS)}  # PEFT puts whole embeddings in
    if wrong := sorted((expected - stored) | surplus):
        raise Refusal(f"the adapter {adapter} does not fit {base}: {wrong[0]} is in only one of them.")
    return adapted


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
