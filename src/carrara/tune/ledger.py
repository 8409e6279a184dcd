"""What a run used: tokens, seconds, memory, energy and money, each saying whether it was measured, beside its plan."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from carrara.models.energy import read_energy, watts_at_work
from carrara.models.interval import Interval
from carrara.models.machine import inspect_machine
from carrara.models.plan import Plan
from carrara.recipe import CostRecipe

EnergyKind = Literal["measured", "estimated", "from your watts"]


@dataclass(frozen=True)
class Ledger:
    """`seconds` are spent in steps, `validation_seconds` in held-out losses.

    Energy in watt-hours covers all of training, and `energy_kind` says its source.
    """

    tokens: int
    supervised_tokens: int
    seconds: float
    peak_memory_mb: float
    energy_wh: float
    energy_kind: EnergyKind
    validation_seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    def money(self, cost: CostRecipe) -> float:
        """In the recipe's currency: hours of the machine plus its energy."""
        return (self.seconds + self.validation_seconds) / 3600 * cost.per_hour + self.energy_wh / 1000 * cost.per_kwh

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """One thing that was planned, and what it was; `error` is the share by which the plan was wrong."""

    name: str
    planned: Interval
    was: float

    @property
    def error(self) -> float:
        return self.planned.likely / self.was - 1 if self.was else 0.0

    @property
    def within(self) -> bool:
        return self.planned.holds(self.was)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "error": self.error, "within": self.within}


def compare_with_plan(ledger: Ledger, plan: Plan, cost: CostRecipe) -> tuple[Outcome, ...]:
    """Planned and actual memory in bytes, seconds of steps and validations, energy in watt-hours and money."""
    return (
        Outcome("memory", plan.memory, ledger.peak_memory_mb * 1e6),
        Outcome("seconds", plan.seconds, ledger.seconds + ledger.validation_seconds),
        Outcome("energy_wh", plan.energy_wh, ledger.energy_wh),
        Outcome("money", plan.money, ledger.money(cost)),
    )


class EnergyMeter:
    """Energy between two looks: by the processor's counters where the system shows them, else power times time.

    Counters of the processor say nothing of an accelerator, so beside one the power is assumed.
    """

    def __init__(self, cost: CostRecipe) -> None:
        machine = inspect_machine()
        self._watts = watts_at_work(machine, cost)[0].likely
        self._counter = None if machine.accelerator else read_energy()
        self._time = time.monotonic()
        self.kind: EnergyKind = (
            "measured" if self._counter is not None else "from your watts" if cost.watts else "estimated"
        )

    def take(self) -> float:
        """Watt-hours since the last look."""
        before, began = self._counter, self._time
        self._counter, self._time = read_energy() if before is not None else None, time.monotonic()
        if before is not None and self._counter is not None and self._counter >= before:
            return self._counter - before
        return self._watts * (self._time - began) / 3600
