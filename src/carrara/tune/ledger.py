"""What a run used: tokens, seconds, memory, energy and money, each saying whether it was measured."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from carrara.models.estimate import WATTS_PER_CORE
from carrara.recipe import CostRecipe

_RAPL = Path("/sys/class/powercap")

EnergyKind = Literal["measured", "estimated", "from your watts"]


@dataclass(frozen=True)
class Ledger:
    """`seconds` are spent in steps; energy in watt-hours covers all of training, and `energy_kind` says its source."""

    tokens: int
    supervised_tokens: int
    seconds: float
    peak_memory_mb: float
    energy_wh: float
    energy_kind: EnergyKind

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    def money(self, cost: CostRecipe) -> float:
        """In the recipe's currency: hours of the machine plus its energy."""
        return self.seconds / 3600 * cost.per_hour + self.energy_wh / 1000 * cost.per_kwh

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def ledger_from_json(value: Mapping[str, Any]) -> Ledger:
    """The inverse of `Ledger.to_json`."""
    return Ledger(**value)


def peak_memory_mb() -> float:
    """The most memory this process ever held, in MB: resident, or allocated on the accelerator if that is more."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1 / 1024) / 1e6
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        peak = max(peak, torch.cuda.max_memory_allocated() / 1e6)
    return peak


class EnergyMeter:
    """Energy between two looks: by the processor's counters where the system shows them, else power times time."""

    def __init__(self, cost: CostRecipe) -> None:
        self._watts = cost.watts or WATTS_PER_CORE * (os.cpu_count() or 1)
        self._counter = _read_counter()
        self._time = time.monotonic()
        self.kind: EnergyKind = (
            "measured" if self._counter is not None else "from your watts" if cost.watts else "estimated"
        )

    def take(self) -> float:
        """Watt-hours since the last look."""
        before, began = self._counter, self._time
        self._counter, self._time = _read_counter(), time.monotonic()
        if before is not None and self._counter is not None and self._counter >= before:
            return self._counter - before
        return self._watts * (self._time - began) / 3600


def _read_counter() -> float | None:
    """Watt-hours on the processor packages' own counters, or None where the system hides or lacks them."""
    try:
        counters = [path / "energy_uj" for path in _RAPL.glob("intel-rapl:*") if path.name.count(":") == 1]
        return sum(int(path.read_text()) for path in counters) / 3.6e9 if counters else None
    except (OSError, ValueError):
        return None
