"""Low-rank matrices beside the frozen ones, also of a base in 4 bits.

LoRA (arXiv 2106.09685), QLoRA (2305.14314), rsLoRA (2312.03732), DoRA (2402.09353); PiSSA is in `pissa.py`, LoRA+ only
a learning rate.
"""

from __future__ import annotations

from typing import Any

from carrara.models.load import Loaded
from carrara.recipe import TuneRecipe
from carrara.tune.methods import pissa
from carrara.tune.methods.targets import check_rank, check_targets
from carrara.tune.methods.tokens import add_tokens, where_learned


def attach(loaded: Loaded, recipe: TuneRecipe) -> Any:
    """The network with low-rank adapters on the targets, every linear module but the head if none are named."""
    from peft import LoraConfig, get_peft_model

    targets = check_targets(loaded.network, recipe.targets)
    check_rank(targets, recipe.rank)
    tokens = add_tokens(loaded, recipe.new_tokens)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.effective_alpha,  # type: ignore[arg-type]  # PEFT accepts and saves fractions
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.targets) if recipe.targets else "all-linear",
        use_rslora=recipe.rslora,
        use_dora=recipe.dora,
        init_lora_weights=pissa.START if recipe.pissa else True,  # type: ignore[arg-type]  # a number of iterations
        trainable_token_indices=where_learned(loaded.network, tokens),
        task_type="CAUSAL_LM",
    )
    network = get_peft_model(loaded.network, config)
    if recipe.pissa:
        pissa.remember_start(network)
    return network
