"""All weights learn."""

from __future__ import annotations

from typing import Any

from carrara.models.load import Loaded
from carrara.recipe import TuneRecipe
from carrara.tune.methods.tokens import add_tokens


def attach(loaded: Loaded, recipe: TuneRecipe) -> Any:
    """The network itself, all of it trainable."""
    add_tokens(loaded, recipe.new_tokens)
    return loaded.network.requires_grad_(True)
