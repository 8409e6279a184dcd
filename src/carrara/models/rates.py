"""How fast this machine does what training consists of: a probe of well under a second, taken once in a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

from carrara.models.energy import read_energy

if TYPE_CHECKING:
    import torch

Sides = tuple[tuple[int, int], ...]  # of matrices: values in and out

_SECONDS = 0.2  # for the products; the rest takes less
_LONGEST = {"cpu": 2048, "cuda": 8192}  # sides of a product: beyond, the rate is the same and the probe long
_MOVED = {"cpu": 16 << 20, "cuda": 256 << 20}  # values, more than caches hold
_CALLS = 1000


@dataclass(frozen=True)
class Rates:
    """What the probe found: `products` in operations a second, `memory` in bytes a second, `call` in seconds.

    `watts` is what the processor's counters showed meanwhile, None where the system hides them.
    """

    dtype: str
    products: float
    memory: float
    call: float
    watts: float | None = None


@cache
def measure_rates(device: torch.device, dtype: torch.dtype, sides: Sides, places: int) -> Rates:
    """Time a layer's products of these sizes on `places` tokens, a sum too large for caches, and a smallest call.

    What else the machine is doing slows them as it would slow training.
    """
    import torch

    before, began = read_energy(), time.monotonic()
    with torch.inference_mode():
        products = _rate_of_products(device, dtype, sides, places)
        spent, energy = time.monotonic() - began, read_energy()
        left, right = (torch.ones(_MOVED[device.type], dtype=dtype, device=device) for _ in range(2))
        added = _shortest(lambda: torch.add(left, right, out=right), device)
        small = torch.ones(16, device=device)
        called = _shortest(lambda: [torch.add(small, small) for _ in range(_CALLS)], device)
    return Rates(
        dtype=str(dtype).removeprefix("torch."),
        products=products,
        memory=3 * left.nbytes / added,
        call=called / _CALLS,
        watts=(energy - before) * 3600 / spent if before is not None and energy is not None else None,
    )


def _rate_of_products(device: torch.device, dtype: torch.dtype, sides: Sides, places: int) -> float:
    """Operations a second of a layer's products, forward and back, each side cut to what a moment allows."""
    import torch

    longest = _LONGEST[device.type]
    cut = [(min(i, longest), min(o, longest)) for i, o in sides]
    rows = max(1, min(places, longest))
    pairs = [
        (torch.ones(rows, i, dtype=dtype, device=device), torch.ones(o, i, dtype=dtype, device=device)) for i, o in cut
    ]

    def once() -> None:
        for values, weights in pairs:
            torch.mm(torch.mm(values, weights.t()), weights)

    return sum(4 * rows * i * o for i, o in cut) / _median(once, device)


def _median(work: Callable[[], Any], device: torch.device) -> float:
    _timed(work, device)  # the first also loads the library
    times = [_timed(work, device)]
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        times.append(_timed(work, device))
    return median(times)


def _shortest(work: Callable[[], Any], device: torch.device) -> float:
    return min(_timed(work, device) for _ in range(4))


def _timed(work: Callable[[], Any], device: torch.device) -> float:
    import torch

    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
