"""IA3: one learned factor for each feature of keys, values and the feed-forward's inside (arXiv 2205.05638)."""

from __future__ import annotations

from typing import Any

from carrara.models.load import Loaded
from carrara.recipe import TuneRecipe
from carrara.tune.methods.targets import check_targets

_TARGETS = ("k_proj", "v_proj", "down_proj")
_INPUT_SCALED = "down_proj"  # whose input is scaled, as the paper has it; of all others the output is


def attach(loaded: Loaded, recipe: TuneRecipe) -> Any:
    """The network with learned factors, all 1 at first, on the targets; on the paper's three if none are named."""
    from peft import IA3Config, get_peft_model

    targets = list(recipe.targets or _TARGETS)
    check_targets(loaded.network, targets)
    config = IA3Config(
        target_modules=targets,
        feedforward_modules=[name for name in targets if name.endswith(_INPUT_SCALED)],
        task_type="CAUSAL_LM",
    )
    return get_peft_model(loaded.network, config)
