"""What training will take: time, energy and money, from the arithmetic a method needs and the rate measured here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from carrara.models.catalogue import Shape
from carrara.models.machine import Machine
from carrara.recipe import CostRecipe

if TYPE_CHECKING:
    import torch

Method = Literal["lora", "full"]

WATTS_PER_CORE = 12.0  # package power of a busy server core with its share of memory; an assumption, marked as such
_WATTS_OF_ACCELERATOR = 400.0  # likewise, of a large one at work

# Operations for each weight and token: forward 2, gradients of activations 2, of weights 2 where they are trained.
_OPERATIONS: Mapping[Method, float] = MappingProxyType({"lora": 4.0, "full": 6.0})


@dataclass(frozen=True)
class MatrixRate:
    """What `measure_rate` found: operations a second of matrix products in a number format."""

    dtype: str
    operations: float


@dataclass(frozen=True)
class Share:
    """The share of the matrix rate that training reaches: what is likely, and what it may be."""

    likely: float
    least: float
    most: float
    origin: str


_SEEN = "was measured on two cores with SmolLM2-135M"
# On two cores that multiply at 950 (bfloat16) and 215 (float32) GFLOP/s; LoRA needs 0.54 GFLOP a token of SmolLM2-135M,
# training every weight 0.81. bfloat16: LoRA 533 tokens/s, and 445 to 600 over passes of 512 to 4,096 tokens and over
# datasets; every weight 423 tokens/s. float32: LoRA 0.58 and 0.64. (The last two beside other work.) The less a rate
# outruns the memory, the more of it is reached, hence the room above.
_ON_PROCESSOR = MappingProxyType(
    {"bfloat16": Share(0.33, 0.25, 0.45, _SEEN), "float32": Share(0.60, 0.45, 0.85, _SEEN)}
)
_ON_ACCELERATOR = Share(0.25, 0.1, 0.5, "is assumed, since training was not measured on an accelerator")


@dataclass(frozen=True)
class Estimate:
    """What training will cost; `seconds` are spent in steps and lie between `low` and `high`."""

    method: Method
    epochs: float
    tokens: int  # in all epochs
    seconds: float
    low: float
    high: float
    energy_wh: float
    money: float
    currency: str
    basis: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def estimate_training(
    shape: Shape,
    parameters: int,
    method: Method,
    tokens: int,
    epochs: float,
    machine: Machine,
    rate: MatrixRate,
    cost: CostRecipe,
) -> Estimate:
    """The estimate for `tokens` of training rows, learned `epochs` times, on a machine of that matrix rate.

    Attention between tokens, loading and evaluation are left out; they weigh little for rows below a few thousand
    tokens.
    """
    share = _ON_ACCELERATOR if machine.accelerator else _ON_PROCESSOR[rate.dtype]
    weights = parameters - (0 if shape.tied else shape.vocabulary * shape.width)  # looking up an embedding is free
    learned = round(tokens * epochs)
    work = _OPERATIONS[method] * weights * learned
    seconds = work / (rate.operations * share.likely)
    watts = cost.watts or WATTS_PER_CORE * machine.cores + (_WATTS_OF_ACCELERATOR if machine.accelerator else 0.0)
    energy = watts * seconds / 3600
    basis = (
        f"{_OPERATIONS[method]:g} operations for each of {weights / 1e6:,.0f} million weights and each token, at "
        f"{share.likely:.0%} ({share.least:.0%} to {share.most:.0%}) of the {rate.operations / 1e9:,.0f} billion a "
        f"second that matrix products in {rate.dtype} reached here just now; that share {share.origin}; "
        f"{watts:.0f} W {'from the recipe' if cost.watts else 'assumed'}."
    )
    return Estimate(
        method=method,
        epochs=epochs,
        tokens=learned,
        seconds=seconds,
        low=work / (rate.operations * share.most),
        high=work / (rate.operations * share.least),
        energy_wh=energy,
        money=seconds / 3600 * cost.per_hour + energy / 1000 * cost.per_kwh,
        currency=cost.currency,
        basis=basis,
    )


def measure_rate(device: torch.device, dtype: torch.dtype, seconds: float = 0.3) -> MatrixRate:
    """The rate of matrix products on a device: the median of as many as fit into `seconds`.

    What else the machine is doing slows them as it would slow training.
    """
    import torch

    size = 1024 if device.type == "cpu" else 8192
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    _product(left, right)  # the first also loads the library
    times = [_product(left, right)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        times.append(_product(left, right))
    return MatrixRate(str(dtype).removeprefix("torch."), 2 * size**3 / median(times))


def _product(left: torch.Tensor, right: torch.Tensor) -> float:
    import torch

    began = time.perf_counter()
    torch.mm(left, right)
    if left.is_cuda:
        torch.cuda.synchronize(left.device)
    return time.perf_counter() - began
