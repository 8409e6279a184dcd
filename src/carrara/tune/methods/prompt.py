"""Prompt tuning: learned embeddings stand before every text (arXiv 2104.08691)."""

from __future__ import annotations

from typing import Any

from carrara.models.load import Loaded
from carrara.recipe import TuneRecipe


def attach(loaded: Loaded, recipe: TuneRecipe) -> Any:
    """The network with virtual tokens that begin as the embeddings of random tokens."""
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(
        num_virtual_tokens=recipe.virtual_tokens, prompt_tuning_init="SAMPLE_VOCAB", task_type="CAUSAL_LM"
    )
    return get_peft_model(loaded.network, config)
