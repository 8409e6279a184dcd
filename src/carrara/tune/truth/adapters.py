"""Is what learns what the recipe names, and does it begin where it should?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from carrara.data.render.batches import collate
from carrara.models.forward import hidden_states
from carrara.recipe import TuneRecipe
from carrara.tune.truth.finding import Finding
from carrara.tune.truth.gradients import short_rows
from carrara.tune.truth.subject import Subject

# What a method's own parameters are called in PEFT; full tuning trains every one. An adapter that came with the model
# may train whole modules besides.
_MARKS = {
    "lora": ("lora_", "trainable_tokens", "modules_to_save.default"),
    "qlora": ("lora_", "trainable_tokens", "modules_to_save.default"),
    "ia3": ("ia3_", "modules_to_save.default"),
    "prefix": ("prompt_encoder",),
    "prompt": ("prompt_encoder",),
    "full": ("",),
}


def check_adapter(subject: Subject) -> Iterator[Finding]:
    """Which parameters learn, where the adapter sits and at what scale, and that a fresh one changes nothing."""
    yield from _learning(subject)
    recipe = subject.training.recipe
    if recipe.method in ("lora", "qlora", "ia3"):
        yield from _seated(subject)
        yield from _fresh(subject)


def _learning(subject: Subject) -> Iterator[Finding]:
    training, method = subject.training, subject.training.recipe.method
    named = dict(training.network.named_parameters())
    held = {id(parameter) for parameter in training.optimizer.parameters.values()}
    meant = {name for name in named if any(mark in name for mark in _MARKS[method])}
    learning = {name for name, parameter in named.items() if parameter.requires_grad}
    kept = {name for name, parameter in named.items() if id(parameter) in held}
    for names, what in (
        (meant - learning, "should learn with method {} but are frozen"),
        (learning - meant, "would learn, which method {} leaves alone"),
        (learning - kept, "learn with method {} but are not in the optimizer"),
        (kept - learning, "are in the optimizer of method {} but are frozen"),
    ):
        if names:
            yield Finding("trained", f"{len(names)} parameters {what.format(method)}; the first is {min(names)}.")
    if len(held) > len(kept):
        yield Finding("trained", f"the optimizer holds {len(held) - len(kept)} parameters that are not the network's.")


def _seated(subject: Subject) -> Iterator[Finding]:
    """Every module that is named carries the adapter, switched on and at the recipe's scale.

    Where an adapter that is gone on with sits, and its scale on each module, no recipe tells.
    """
    from peft.tuners.trainable_tokens import TrainableTokensLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    network, recipe = subject.training.network, subject.training.recipe
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, BaseTunerLayer)
        and hasattr(module.get_base_layer(), "in_features")
        and not isinstance(module, TrainableTokensLayer)  # the rows of new tokens, in a head that is the embedding
    }
    off = [
        name for name, layer in layers.items() if layer.disable_adapters or layer.merged or not layer.active_adapters
    ]
    if off:
        yield Finding("adapter", f"the adapter is switched off or merged on {len(off)} modules; the first is {off[0]}.")
    if subject.loaded.model.adapter:
        return
    meant = _meant(network, recipe)
    if missing := sorted(meant - layers.keys()):
        yield Finding(
            "adapter",
            f"{len(missing)} of {len(meant)} modules that should carry the adapter do not; the first is {missing[0]}.",
        )
    if surplus := sorted(layers.keys() - meant):
        yield Finding("adapter", f"{len(surplus)} modules carry the adapter unasked; the first is {surplus[0]}.")
    if recipe.method == "ia3":
        return
    scale = recipe.adapter_scale
    wrong = [name for name, layer in layers.items() if not math.isclose(_scale_of(layer), scale, rel_tol=1e-3)]
    if wrong:
        yield Finding(
            "adapter",
            f"the adapter's scale is {_scale_of(layers[wrong[0]]):g} on {wrong[0]}, and the recipe means {scale:g}.",
        )


def _scale_of(layer: Any) -> float:
    return float(next(iter(layer.scaling.values()), 0.0))


def _meant(network: Any, recipe: TuneRecipe) -> set[str]:
    """The paths of the linear modules that the recipe names: all but the head if it names none."""
    import torch

    head = network.get_output_embeddings()
    bases = {
        name.removesuffix(".base_layer"): module
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.Linear) and not _is_part_of_adapter(name)
    }
    named = recipe.targets
    if named is None and recipe.method == "ia3":
        named = tuple(network.peft_config["default"].target_modules)
    if named is None:
        heads = {id(module) for module in head.modules()}
        return {name for name, module in bases.items() if id(module) not in heads}
    return {name for name in bases if any(name == each or name.endswith(f".{each}") for each in named)}


def _is_part_of_adapter(name: str) -> bool:
    return any(part.startswith(("lora_", "ia3_")) for part in name.split("."))


def _fresh(subject: Subject) -> Iterator[Finding]:
    """A new LoRA or IA3 adapter changes nothing until it has learned; PiSSA moves weights into it, to the same end."""
    import torch

    training = subject.training
    rows = short_rows(training.rows)[:2]
    if subject.loaded.model.adapter or training.recipe.pissa or training.recipe.new_tokens or not rows:
        return
    ids = collate(rows, training.device).ids
    with torch.no_grad():
        states = hidden_states(training.network, ids)
        with training.network.disable_adapter():
            base = hidden_states(training.network, ids)
    change = float((states - base).float().norm() / base.float().norm())
    if not change < 1e-2:
        yield Finding(
            "fresh-adapter",
            f"the untrained adapter already changes the model's last states by {change:.1%}; training would begin at "
            "another model than the one chosen.",
        )
