"""The weights that a network computes with, adapters included, module by module and without changing the network."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

VIRTUAL = "virtual tokens"  # the name of what prompt and prefix tuning learn, which stands in no module of the model


def modules_of(network: Any) -> dict[str, Any]:
    """The modules that hold weights, by their names in the bare model; one under an adapter comes with it."""
    found: dict[str, Any] = {}
    roots = [("", network.get_base_model() if hasattr(network, "get_base_model") else network)]
    if hasattr(network, "prompt_encoder"):
        roots.append((VIRTUAL, network.prompt_encoder))
    for prefix, root in roots:
        inside: tuple[str, ...] = ()  # of adapters, whose own modules are no weights of the model
        for name, module in root.named_modules(prefix=prefix, remove_duplicate=False):
            if inside and name.startswith(inside):
                continue
            if is_adapted(module):
                inside = (*inside, f"{name}.")
                found[name] = module
            elif next(module.parameters(recurse=False), None) is not None:
                found[name] = module
    return found


def is_adapted(module: Any) -> bool:
    """Whether a module is one of PEFT's that stands in for another."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper))


def weights_of(module: Any, times: int = 1) -> dict[str, torch.Tensor]:
    """A module's weights by name, in float32, with its adapter merged so many times; those in 4 bits are unpacked."""
    plain = _merged(module, times) if is_adapted(module) else module
    return {name: _unpacked(plain, values).float() for name, values in plain.named_parameters(recurse=False)}


def _merged(module: Any, times: int) -> Any:
    """A plain module with the adapter in its weights, made by PEFT on a copy; without it where it is switched off."""
    times = 0 if module.disable_adapters else times
    if hasattr(module, "original_module"):  # whole modules and single tokens that were trained
        wanted = copy.deepcopy(module)
        settings: dict[str, Any] = {"safe_merge": False, "adapter_names": None}
        return wanted.unload_and_optionally_merge_module(merge=True, **settings) if times else wanted.original_module
    if not times:
        return module.get_base_layer()
    twin = _in_full(copy.deepcopy(module))
    for _ in range(times):
        twin.merge()
        twin.merged_adapters.clear()
    return twin.get_base_layer()


def _in_full(layer: Any) -> Any:
    """The layer as it is on a base that is not held in 4 bits, where PEFT would round what it merges."""
    import torch
    from peft.tuners.lora import Linear

    base = layer.get_base_layer()
    if not _is_packed(base.weight):
        return layer
    full = torch.nn.Linear(base.in_features, base.out_features, bias=base.bias is not None)
    full.weight.data = _unpacked(base, base.weight).float()
    if base.bias is not None:
        full.bias.data = base.bias.data.float()
    layer.base_layer, layer.__class__ = full, Linear
    return layer


def _is_packed(values: torch.Tensor) -> bool:
    return hasattr(values, "quant_state")


def _unpacked(module: Any, values: torch.Tensor) -> torch.Tensor:
    """A weight of the module in full numbers; in 4 bits are none but those named `weight`."""
    from peft.utils.integrations import dequantize_module_weight

    return (dequantize_module_weight(module) if _is_packed(values) else values).detach()
