"""Energy: the processor's own counters where the system shows them, and a stated power where it does not."""

from __future__ import annotations

from pathlib import Path

from carrara.models.interval import Interval
from carrara.models.machine import Machine
from carrara.recipe import CostRecipe

_RAPL = Path("/sys/class/powercap")

# Package power of a busy core with its share of memory, from a laptop's to a small server's; and of an accelerator at
# work, from a workstation's card to the largest. Assumptions, marked as such wherever they are used.
_PER_CORE = Interval(12.0, 5.0, 20.0)
_PER_ACCELERATOR = Interval(400.0, 150.0, 800.0)
_GIVEN = Interval(1.0, 0.9, 1.1)  # a power that the user states is taken to be right within a tenth
_MEASURED = Interval(1.0, 0.8, 1.2)  # the power while a probe ran, for that of a whole run


def watts_at_work(machine: Machine, cost: CostRecipe, measured: float | None = None) -> tuple[Interval, str]:
    """The power while this machine trains, and where that is known from, to be read behind `W`."""
    if cost.watts:
        return _GIVEN.times(cost.watts), "from the recipe"
    if measured and not machine.accelerator:
        return _MEASURED.times(measured), "measured just now"
    watts = _PER_CORE.times(machine.cores)
    return (watts.plus(_PER_ACCELERATOR) if machine.accelerator else watts), "assumed"


def read_energy() -> float | None:
    """Watt-hours on the processor packages' own counters, or None where the system hides or lacks them."""
    try:
        counters = [path / "energy_uj" for path in _RAPL.glob("intel-rapl:*") if path.name.count(":") == 1]
        return sum(int(path.read_text()) for path in counters) / 3.6e9 if counters else None
    except (OSError, ValueError):
        return None
