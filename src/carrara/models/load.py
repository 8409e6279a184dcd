"""The one place that turns a model's folder into a network and a tokenizer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.models.machine import choose_device, choose_dtype, prepare_for_heavy_work
from carrara.models.model import Model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


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


def load_model(model: Model, dtype: str = "auto", adapter: bool = True) -> Loaded:
    """Load weights (and the adapter, un-merged, if the model has one); raises Refusal if they do not fit together."""
    prepare_for_heavy_work()
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    precision = choose_dtype(dtype)
    device = choose_device()
    try:
        network: Any = AutoModelForCausalLM.from_pretrained(
            model.path, dtype=precision, local_files_only=True, trust_remote_code=False, attn_implementation="sdpa"
        )
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        raise Refusal(f"{model.path} cannot be loaded as a causal language model: {_short(error)}") from error
    if adapter and model.adapter:
        network = _with_adapter(network, model.path, model.adapter)
    network.to(device).eval()
    for parameter in network.parameters():  # not network.to(dtype), which would round the rotary frequencies too
        parameter.data = parameter.data.to(precision)
        parameter.requires_grad_(False)
    return Loaded(model, network, load_tokenizer(model), device, precision)


def context_of(model: Model) -> int:
    """The most tokens the model can hold at once, as its configuration says; 2048 where it is silent."""
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings") or 2048)


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, from its folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model.path, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise Refusal(f"{model.path}: the tokenizer cannot be loaded: {_short(error)}") from error


def _with_adapter(network: Any, base: Path, adapter: Path) -> Any:
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(network, adapter, local_files_only=True)
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        raise Refusal(f"the adapter {adapter} does not fit {base}: {_short(error)}") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
