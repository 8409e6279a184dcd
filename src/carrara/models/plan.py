"""What a fine-tune will take: memory, time, energy and money, each with an interval, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from carrara.models.catalogue import Shape
from carrara.models.energy import watts_at_work
from carrara.models.estimate import Work, memory_parts, time_parts
from carrara.models.fitted import MEMORY, MEMORY_SPREAD, ORIGIN, TIME, TIME_SPREAD, Kind
from carrara.models.interval import Interval
from carrara.models.machine import Machine
from carrara.models.rates import Rates
from carrara.recipe import CostRecipe, TuneRecipe


@dataclass(frozen=True)
class Plan:
    """What a run will take, and with which settings it fits.

    `memory` in bytes is the peak of the process, or what is allocated on the accelerator, and `parts` what it consists
    of; `seconds` are those of steps and validations; `energy` in watt-hours; `money` in `currency`. `reason` says why
    it does not fit, or nothing.
    """

    method: str
    epochs: float
    steps: int
    tokens: int
    micro_batch_tokens: int
    checkpoint_activations: bool
    batching: str
    memory: Interval
    parts: Mapping[str, int]
    seconds: Interval
    energy_wh: Interval
    money: Interval
    currency: str
    reason: str
    basis: str

    @property
    def fits(self) -> bool:
        return not self.reason

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "fits": self.fits}


def plan_from_json(value: Mapping[str, Any]) -> Plan:
    """The inverse of `Plan.to_json`."""
    known: dict[str, Any] = {key: item for key, item in value.items() if key != "fits"}
    for key in ("memory", "seconds", "energy_wh", "money"):
        known[key] = Interval(**known[key])
    return Plan(**known)


def plan_work(
    shape: Shape,
    parameters: int,
    tune: TuneRecipe,
    work: Work,
    machine: Machine,
    rates: Rates,
    cost: CostRecipe,
) -> Plan:
    """The plan of some work under a recipe whose `micro_batch_tokens` and `checkpoint_activations` are settled."""
    kind: Kind = "cuda" if machine.accelerator else "cpu"
    width = 2 if rates.dtype == "bfloat16" else 4
    parts = _weighted(memory_parts(shape, parameters, tune, work, width, kind), MEMORY[kind])
    memory = MEMORY_SPREAD[kind].times(sum(parts.values()))
    times = _weighted(time_parts(shape, parameters, tune, work, rates), TIME[kind])
    seconds = TIME_SPREAD[kind].times(sum(times.values()))
    watts, known = watts_at_work(machine, cost, rates.watts)
    energy = seconds.by(watts).times(1 / 3600)
    return Plan(
        method=tune.method,
        epochs=tune.epochs,
        steps=work.steps,
        tokens=work.tokens,
        micro_batch_tokens=int(tune.micro_batch_tokens),
        checkpoint_activations=bool(tune.checkpoint_activations),
        batching=tune.batching,
        memory=memory,
        parts=_by_purpose(parts),
        seconds=seconds,
        energy_wh=energy,
        money=seconds.times(cost.per_hour / 3600).plus(energy.times(cost.per_kwh / 1000)),
        currency=cost.currency,
        reason=_reason(memory, machine),
        basis=(
            f"matrix products in {rates.dtype} reached {rates.products / 1e9:,.3g} billion operations a second here "
            f"just now, and memory {rates.memory / 1e9:,.0f} GB/s; {ORIGIN[kind]}; {watts.likely:.0f} W {known}."
        ),
    )


def _weighted(parts: Mapping[str, float], constants: Mapping[str, float]) -> dict[str, float]:
    return {name: value * constants[name] for name, value in parts.items()}


def _by_purpose(parts: Mapping[str, float]) -> dict[str, int]:
    """Bytes by what a reader knows them as."""
    return {
        "weights": round(parts["weights"]),
        "trained": round(parts["trained"]),
        "activations": round(sum(parts[name] for name in ("inputs", "between", "entries", "passing", "logits"))),
        "runtime": round(parts["runtime"]),
    }


def _reason(memory: Interval, machine: Machine) -> str:
    missing = memory.likely - machine.working_memory
    return f"needs {missing / 1e9:.1f} GB more" if missing > 0 else ""
