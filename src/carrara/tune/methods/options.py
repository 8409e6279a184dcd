"""Options that a method has no use for are refused: they would do nothing, and nobody would be told."""

from __future__ import annotations

from carrara.errors import Refusal
from carrara.recipe import TuneRecipe

_LORA = ("lora", "qlora")
_USED_BY = {
    "alpha": _LORA,
    "dropout": _LORA,
    "targets": (*_LORA, "ia3"),
    "rslora": _LORA,
    "dora": _LORA,
    "pissa": ("lora",),  # its frozen weights change, which 4 bits would round
    "lora_plus": _LORA,
    "virtual_tokens": ("prefix", "prompt"),
    "new_tokens": (*_LORA, "full"),
}
_VIRTUAL = ("prefix", "prompt")


def check_options(recipe: TuneRecipe) -> None:
    """Refuse options that do nothing for the method or do not go with it."""
    for option, methods in _USED_BY.items():
        usual = TuneRecipe.model_fields[option].default
        if getattr(recipe, option) != usual and recipe.method not in methods:
            raise Refusal(
                f"tune.{option} does nothing with method {recipe.method}; leave it out, or choose the method "
                f"{' or '.join(methods)}."
            )
    if recipe.checkpoint_activations is True and recipe.method in _VIRTUAL:
        raise Refusal(
            f"tune.checkpoint_activations does not go with method {recipe.method}, whose virtual tokens are in a "
            "cache; leave it out, and lower tune.micro_batch_tokens if memory is short."
        )
