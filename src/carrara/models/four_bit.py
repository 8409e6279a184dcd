"""A base held in 4 bits: NF4 by bitsandbytes, computed with in the precision of the rest."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal

if TYPE_CHECKING:
    import torch


def four_bit_settings(dtype: torch.dtype) -> Any:
    """What transformers needs for NF4 with double quantisation (arXiv 2305.14314); Refusal without bitsandbytes."""
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise Refusal('a base in 4 bits needs bitsandbytes, which is not installed: pip install "carrara[qlora]".')
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def import_bitsandbytes() -> None:
    """Import bitsandbytes, if it is there, before PEFT does so, which looks for it whatever the method.

    On import it fetches compiled kernels from the hub where the package `kernels` is installed, and complains where
    it is not. Neither is wanted.
    """
    if find_spec("bitsandbytes") is None or "bitsandbytes" in sys.modules:
        return
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    hidden = "kernels" not in sys.modules
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]  # None makes its import fail
    try:
        import bitsandbytes  # noqa: F401  # pyright: ignore
    finally:
        if hidden:
            del sys.modules["kernels"]


def compute_as_in_training(network: Any) -> None:
    """Keep bitsandbytes from its own way of computing answers on a processor, which rounds to bfloat16."""
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
