"""Going on with an adapter: the same parameters learn further, on the same base, and are one adapter again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import Loaded, load_tokenizer
from carrara.recipe import TuneRecipe

if TYPE_CHECKING:
    from peft import PeftConfig

_METHOD_OF = {"LORA": "lora", "IA3": "ia3", "PREFIX_TUNING": "prefix", "PROMPT_TUNING": "prompt"}


def continued(recipe: TuneRecipe, model: Model) -> TuneRecipe:
    """The recipe with what a model's adapter determines: its method and shape.

    Raises Refusal where the recipe says otherwise, and for an adapter of a kind that is not trained here.
    """
    if model.adapter is None:
        return recipe
    if recipe.pissa:
        raise Refusal(f"tune.pissa is a way to begin, and {model.name} goes on from where it is; leave tune.pissa out.")
    fixed = _fixed(_config(model.adapter), model)
    for key, value in fixed.items():
        wanted = getattr(recipe, key)
        if key in recipe.model_fields_set and wanted is not None and not _alike(wanted, value):
            raise Refusal(
                f"tune.{key} is {_said(wanted)}, but {model.name} was trained with {_said(value)} and goes on so; "
                f"leave tune.{key} out, or begin at the base model."
            )
    return recipe.model_copy(update=fixed)


def go_on(loaded: Loaded) -> Any:
    """The loaded network with its adapter trainable, in the precision in which it was saved."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    network, adapter = loaded.network, loaded.model.adapter
    assert adapter is not None
    config = network.peft_config["default"]
    if config.is_prompt_learning:
        network.prompt_encoder.requires_grad_(True)
    else:
        network.set_adapter("default")
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    set_peft_model_state_dict(network, load_file(adapter / "adapter_model.safetensors"))
    return network


def _config(adapter: Path) -> PeftConfig:
    from peft import PeftConfig

    try:
        return PeftConfig.from_pretrained(str(adapter), local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise Refusal(f"{adapter / 'adapter_config.json'} is no PEFT configuration: {error}") from error


def _fixed(config: Any, model: Model) -> dict[str, Any]:
    """What of a recipe an adapter determines."""
    method = _METHOD_OF.get(str(config.peft_type.value))
    if method is None:
        raise Refusal(f"{model.name} is an adapter of the type {config.peft_type.value}, which is not trained here.")
    if method in ("prefix", "prompt"):
        return {"method": method, "virtual_tokens": config.num_virtual_tokens}
    targets = config.target_modules
    fixed: dict[str, Any] = {"targets": None if isinstance(targets, str) else tuple(sorted(targets))}
    if method == "ia3":
        return {"method": method, **fixed}
    return {
        "method": "qlora" if model.four_bit else "lora",
        **fixed,
        "rank": config.r,
        "alpha": float(config.lora_alpha),
        "rslora": config.use_rslora,
        "dora": config.use_dora,
        "dropout": config.lora_dropout,
        "new_tokens": _learned_tokens(config, model),
    }


def _learned_tokens(config: Any, model: Model) -> tuple[str, ...]:
    learned = config.trainable_token_indices or []
    indices = learned if isinstance(learned, list) else next(iter(learned.values()), [])
    return tuple(load_tokenizer(model).convert_ids_to_tokens(indices)) if indices else ()


def _alike(one: Any, other: Any) -> bool:
    return set(one) == set(other or ()) if isinstance(one, tuple) else one == other


def _said(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
