"""How weights are made trainable, and how what was trained is saved: full weights, or a PEFT adapter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.models.load import Loaded
from carrara.models.sources import MODEL_FILES
from carrara.recipe import TuneRecipe

if TYPE_CHECKING:
    import torch


def attach(loaded: Loaded, recipe: TuneRecipe) -> Any:
    """The network with the method's parameters trainable and in float32, and all others frozen."""
    if recipe.method == "full":
        for parameter in loaded.network.parameters():
            parameter.requires_grad_(True)
        return loaded.network
    return _with_lora(loaded.network, recipe)


def _with_lora(network: Any, recipe: TuneRecipe) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.effective_alpha,  # type: ignore[arg-type]  # PEFT accepts and saves fractions
        lora_dropout=recipe.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(network, config, autocast_adapter_dtype=True)


def trainable(network: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def save(network: Any, recipe: TuneRecipe, base: Path, target: Path) -> None:
    """Write what was trained into `target`: PEFT's two files, or a Hugging Face folder with the base's tokenizer."""
    if recipe.method == "lora":
        network.peft_config["default"].base_model_name_or_path = str(base)
        network.save_pretrained(target, safe_serialization=True)
        (target / "README.md").unlink(missing_ok=True)  # PEFT's unfilled model card
        return
    network.save_pretrained(target, safe_serialization=True)
    for name in MODEL_FILES:
        if (base / name).is_file() and not (target / name).exists():
            shutil.copyfile(base / name, target / name)
