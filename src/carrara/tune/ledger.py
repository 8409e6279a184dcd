"""What a run used: tokens, seconds, memory, energy and money, each saying whether it was measured."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from carrara.recipe import CostRecipe

_RAPL = Path("/sys/class/powercap")
_WATTS_PER_CORE = 12.0  # package power of a busy server core with its share of memory; an assumption, marked as such


@dataclass(frozen=True)
class Ledger:
    """Energy in watt-hours; `energy_kind` says where it comes from."""

    tokens: int
    supervised_tokens: int
    seconds: float
    peak_memory_mb: float
    energy_wh: float
    energy_kind: Literal["measured", "estimated", "from your watts"]

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


def read_energy_counter() -> float | None:
    """Watt-hours on the processor packages' own counters, or None where the system hides or lacks them."""
    try:
        counters = [path / "energy_uj" for path in _RAPL.glob("intel-rapl:*") if path.name.count(":") == 1]
        return sum(int(path.read_text()) for path in counters) / 3.6e9 if counters else None
    except (OSError, ValueError):
        return None


def energy_used(
    before: float | None, seconds: float, cost: CostRecipe
) -> tuple[float, Literal["measured", "estimated", "from your watts"]]:
    """Watt-hours since `before` was read, and how they were found."""
    after = read_energy_counter()
    if before is not None and after is not None and after >= before:
        return after - before, "measured"
    if cost.watts:
        return cost.watts * seconds / 3600, "from your watts"
    return _WATTS_PER_CORE * (os.cpu_count() or 1) * seconds / 3600, "estimated"
