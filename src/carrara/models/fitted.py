"""The planner's constants: what a machine makes of each part of `estimate.py`.

Those of a processor were fitted by `benchmarks/plan.py --fit`, which prints this table anew. Those of an accelerator
are assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from carrara.models.interval import Interval

Kind = Literal["cpu", "cuda"]

# Seconds for each second that a part would take at the machine's full rates.
TIME: Mapping[Kind, Mapping[str, float]] = MappingProxyType(
    {
        "cpu": {
            "products_bfloat16": 1.44,
            "products_float32": 1.02,
            "gradients": 2.51,
            "attention": 3.16,
            "dequantised": 10.0,  # assumed
            "adapters": 1.98,
            "values": 6.7,
            "logits": 6.07,
            "calls": 2.83,
            "adapter_calls": 2.17,
            "optimizer": 1.55,
        },
        "cuda": {
            "products_bfloat16": 1.2,
            "products_float32": 1.2,
            "gradients": 1.2,
            "attention": 2.0,
            "dequantised": 2.0,
            "adapters": 2.0,
            "values": 2.0,
            "logits": 3.0,
            "calls": 5.0,
            "adapter_calls": 5.0,
            "optimizer": 1.5,
        },
    }
)

# Bytes for each byte of a part; `runtime` is bytes outright.
MEMORY: Mapping[Kind, Mapping[str, float]] = MappingProxyType(
    {
        "cpu": {
            "runtime": 0.629e9,
            "weights": 1.0,
            "trained": 1.0,
            "inputs": 0.0,
            "between": 1.05,
            "entries": 0.368,
            "passing": 0.161,
            "logits": 1.12,
        },
        "cuda": {
            "runtime": 0.7e9,
            "weights": 1.0,
            "trained": 1.0,
            "inputs": 1.0,
            "between": 1.0,
            "entries": 1.0,
            "passing": 3.0,
            "logits": 1.0,
        },
    }
)

# Between which multiples of the prediction nine runs in ten should lie.
TIME_SPREAD: Mapping[Kind, Interval] = MappingProxyType(
    {"cpu": Interval(1.0, 0.57, 1.75), "cuda": Interval(1.0, 0.4, 2.5)}
)
MEMORY_SPREAD: Mapping[Kind, Interval] = MappingProxyType(
    {"cpu": Interval(1.0, 0.76, 1.31), "cuda": Interval(1.0, 0.7, 1.5)}
)
ORIGIN: Mapping[Kind, str] = MappingProxyType(
    {
        "cpu": "constants fitted to 22 runs on two cores",
        "cuda": "constants assumed, since no run on an accelerator was measured",
    }
)
