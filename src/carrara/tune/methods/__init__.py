"""How weights are made trainable, and how what was trained is saved: full weights, or an adapter as PEFT writes it.

Each method is a module with `attach(loaded, recipe)`; the step loop, the objective and the optimizer know none of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.models.four_bit import import_bitsandbytes
from carrara.models.load import Loaded, tokenizer_folder
from carrara.models.sources import MODEL_FILES
from carrara.recipe import TuneRecipe
from carrara.tune.methods import full, ia3, lora, pissa, prefix, prompt
from carrara.tune.methods.moving_on import continued, go_on
from carrara.tune.methods.options import check_options

if TYPE_CHECKING:
    import torch

__all__ = ["attach", "continued", "decays", "rate_of", "save", "trainable"]

_METHODS = {
    "full": full.attach,
    "lora": lora.attach,
    "qlora": lora.attach,
    "ia3": ia3.attach,
    "prefix": prefix.attach,
    "prompt": prompt.attach,
}
_NOT_DECAYED = ("embed_tokens", "trainable_tokens", "prompt_encoder", "ia3_", "magnitude")


def attach(loaded: Loaded, recipe: TuneRecipe) -> Any:
    """The network with the method's parameters trainable and all others frozen; new tokens are in its tokenizer after.

    A model with an adapter goes on with it. Raises Refusal for options that cannot work or would do nothing.
    """
    check_options(recipe)
    import_bitsandbytes()
    if loaded.model.adapter:
        return go_on(loaded)
    return _METHODS[recipe.method](loaded, recipe)


def trainable(network: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def rate_of(name: str, recipe: TuneRecipe) -> float:
    """The learning rate of a parameter as a multiple of the recipe's: above 1 for LoRA+'s B (arXiv 2402.12354)."""
    return recipe.lora_plus if ".lora_B." in name else 1.0


def decays(name: str, parameter: torch.Tensor) -> bool:
    """Whether weight decay applies to a parameter: to matrices, but not to embeddings, nor to what scales."""
    return parameter.dim() >= 2 and not any(part in name for part in _NOT_DECAYED)


def save(network: Any, recipe: TuneRecipe, loaded: Loaded, target: Path) -> None:
    """Write what was trained into `target`: PEFT's two files, or a Hugging Face folder; a changed tokenizer with it.

    `loaded` is what the network was attached to. Weights are written in the precision that they have.
    """
    base = loaded.model.path
    if recipe.method == "full":
        network.save_pretrained(target, safe_serialization=True)
    else:
        network.peft_config["default"].base_model_name_or_path = str(base)
        with pissa.as_lora(network):
            # Rows of new tokens are in the adapter, so that PEFT need not add the whole embedding to it.
            whole = False if recipe.new_tokens else "auto"
            network.save_pretrained(target, safe_serialization=True, save_embedding_layers=whole)
        (target / "README.md").unlink(missing_ok=True)  # PEFT's unfilled model card
    if recipe.new_tokens or tokenizer_folder(loaded.model) != base:
        loaded.tokenizer.save_pretrained(target)
    if recipe.method == "full":
        for name in MODEL_FILES:
            if (base / name).is_file() and not (target / name).exists():
                shutil.copyfile(base / name, target / name)
