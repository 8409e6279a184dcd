"""PiSSA: begin at the base's principal components instead of at nothing (arXiv 2404.02948).

PEFT takes the components out of the frozen weights. What was learned is saved as the difference to where it began, a
LoRA of twice the rank, so that it belongs on the base as it was.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

START = "pissa_niter_16"  # the randomised decomposition: exact enough, as the frozen weights take up the rest
_REMEMBERED = "where_pissa_began"


def remember_start(network: Any) -> None:
    """Keep copies of the matrices that a new PiSSA network begins with, on the network."""
    began = [tuple(weight.detach().clone() for weight in pair) for pair in _pairs(network)]
    setattr(network, _REMEMBERED, began)


@contextmanager
def as_lora(network: Any) -> Iterator[None]:
    """Within it, a PiSSA network holds the LoRA of twice the rank that does the same on the base as it was."""
    began = getattr(network, _REMEMBERED, None)
    if began is None:
        yield
        return
    config = network.peft_config["default"]
    kept = [(a, b, a.data, b.data) for a, b in _pairs(network)]
    for (a, b, _, _), (a0, b0) in zip(kept, began, strict=True):
        a.data, b.data = _difference(a.data, b.data, a0.to(a), b0.to(b))
    network.peft_config["default"] = changed = copy.copy(config)
    changed.r, changed.init_lora_weights = 2 * config.r, True
    changed.lora_alpha = config.lora_alpha * (math.sqrt(2) if config.use_rslora else 2)  # the same scale
    try:
        yield
    finally:
        network.peft_config["default"] = config
        for a, b, a_data, b_data in kept:
            a.data, b.data = a_data, b_data


def _pairs(network: Any) -> list[tuple[torch.nn.Parameter, torch.nn.Parameter]]:
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [module for module in network.modules() if isinstance(module, LoraLayer)]
    return [(layer.lora_A["default"].weight, layer.lora_B["default"].weight) for layer in layers]


def _difference(
    a: torch.Tensor, b: torch.Tensor, a0: torch.Tensor, b0: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`b @ a - b0 @ a0` as a product of its own.

    Side by side the four matrices would do, but the small difference of two large products would not survive rounding
    to bfloat16. So it is decomposed: by QR on either side, and the small middle by its singular values.
    """
    import torch

    left, middle_left = torch.linalg.qr(torch.cat([b, -b0], dim=1))
    right, middle_right = torch.linalg.qr(torch.cat([a, a0]).T)
    u, sizes, v = torch.linalg.svd(middle_left @ middle_right.T, full_matrices=False)
    root = sizes.sqrt()
    missing = 2 * len(a) - len(sizes)  # where a side is smaller than twice the rank
    pad = torch.nn.functional.pad
    new_a = pad((v * root[:, None]) @ right.T, (0, 0, 0, missing))
    return new_a.contiguous(), pad((left @ u) * root, (0, missing)).contiguous()
