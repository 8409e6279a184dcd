"""Which modules a method changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal

if TYPE_CHECKING:
    import torch


def check_targets(network: Any, targets: Sequence[str] | None) -> dict[str, torch.nn.Linear]:
    """The linear modules that the names mean (None: all but the head), by their paths.

    A name is the end of a module's path. Raises Refusal for a name that means none.
    """
    import torch

    linear = {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    if targets is None:
        head = network.get_output_embeddings()
        return {name: module for name, module in linear.items() if module is not head}
    for target in targets:
        if not any(_means(target, name) for name in linear):
            known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise Refusal(f"tune.targets: '{target}' is no linear module of the model; it has {known}.")
    return {name: module for name, module in linear.items() if any(_means(target, name) for target in targets)}


def check_rank(modules: dict[str, torch.nn.Linear], rank: int) -> None:
    """Refuse a rank that a module is too small for."""
    for name, module in modules.items():
        if rank > min(module.in_features, module.out_features):
            raise Refusal(
                f"tune.rank {rank} is more than {name} has ({module.in_features} x {module.out_features}); "
                f"lower it to {min(module.in_features, module.out_features)} or name other tune.targets."
            )


def _means(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}")
