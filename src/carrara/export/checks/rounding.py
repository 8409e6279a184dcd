"""The rounding of weights to the formats they are stored in, and what an exported weight is off beyond it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from carrara.export.checks.check import Form

if TYPE_CHECKING:
    import torch

# How the weights of a form may be stored, the usual way first. Norms stay in float32, and so does what has no whole
# blocks. A folder says by itself which of its formats its weights are in.
STORED: Mapping[Form, tuple[str, ...]] = MappingProxyType(
    {
        "safetensors": ("f32", "bf16", "f16"),
        "adapter": ("f32",),
        "f16": ("f16", "f32"),
        "q8_0": ("q8_0", "f16", "f32"),
        "q4_0": ("q4_0", "q8_0", "f16", "f32"),
    }
)
FORMATS = ("f16", "bf16", "q8_0", "q4_0")
# No rounding of the form moves a weight by a larger part of its size (Euclidean norms).
LARGEST: Mapping[Form, float] = MappingProxyType(
    {"safetensors": 0.01, "adapter": 0.01, "f16": 0.01, "q8_0": 0.05, "q4_0": 0.5}
)
_BLOCK = 32  # numbers that share a scale in Q8_0 and Q4_0
_NOISE = 1e-5  # of a weight's size: the least that counts as rounding's error, since sums in float32 have one, too


def rounded(values: torch.Tensor, stored: str) -> torch.Tensor:
    """Weights as a format gives them back; those that have no whole blocks stay as they are in Q8_0 and Q4_0."""
    import torch

    if stored in ("f16", "bf16"):
        return values.to(torch.float16 if stored == "f16" else torch.bfloat16).float()
    if stored == "f32" or values.dim() < 2 or values.shape[-1] % _BLOCK:
        return values
    from gguf import GGMLQuantizationType, dequantize, quantize

    kind = GGMLQuantizationType[stored.upper()]
    return torch.from_numpy(dequantize(quantize(values.cpu().numpy(), kind), kind)).to(values.device)


def beyond(found: torch.Tensor, meant: torch.Tensor, form: Form, enough: float) -> float:
    """How far `found` is from `meant` rounded to a form, in parts of the rounding's own error.

    The least over the form's ways of storing; the first that is at most `enough` is taken. Infinite for what is no
    number.
    """
    least = math.inf
    for stored in STORED[form]:
        target = rounded(meant, stored)
        off = float((found - target).norm())
        room = float((target - meant).norm()) + _NOISE * float(meant.norm()) + 1e-12
        least = min(least, off / room if math.isfinite(off) and math.isfinite(room) else math.inf)
        if least <= enough:
            break
    return least
