"""Prefix tuning: learned keys and values stand before every text, in each layer (arXiv 2101.00190)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrara.models.forward import decoder_of, opening
from carrara.models.load import Loaded
from carrara.recipe import TuneRecipe

if TYPE_CHECKING:
    import torch


def attach(loaded: Loaded, recipe: TuneRecipe) -> Any:
    """The network with virtual tokens that begin as the keys and values of random tokens.

    Real activations are where the paper begins, too: random numbers as keys and values disturb the model at first
    more than a short training can mend.
    """
    from peft import PrefixTuningConfig, get_peft_model

    start = _activations(loaded, recipe.virtual_tokens)
    config = PrefixTuningConfig(num_virtual_tokens=recipe.virtual_tokens, task_type="CAUSAL_LM")
    network: Any = get_peft_model(loaded.network, config)
    network.prompt_encoder["default"].load_prompt_embeddings(start)
    return network


def _activations(loaded: Loaded, count: int) -> torch.Tensor:
    """Keys and values of random tokens as PEFT lays them out: `(count, layers x [key, value] x heads x size)`."""
    import torch

    ids = torch.randint(0, len(loaded.tokenizer), (1, count)).to(loaded.device)
    cache: Any = opening(loaded.network, rows=1)
    with torch.no_grad():
        decoder_of(loaded.network)(input_ids=ids, past_key_values=cache, use_cache=True)
    parts = [part[0].transpose(0, 1).flatten(1) for keys, values, *_ in cache for part in (keys, values)]
    return torch.cat(parts, dim=1).float()
