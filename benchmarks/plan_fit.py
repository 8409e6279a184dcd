"""Fitting the planner's constants to measured runs, and judging a planner by them."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

from carrara.models.catalogue import Shape
from carrara.models.estimate import Passes, Work, memory_parts, time_parts
from carrara.models.fitted import MEMORY, MEMORY_SPREAD, TIME, TIME_SPREAD
from carrara.models.interval import Interval
from carrara.models.rates import Rates
from carrara.recipe import TuneRecipe

Record = Mapping[str, Any]
_HOLD = 0.1  # how much a constant is held to what it was, for parts that few configurations tell apart
_AT_LEAST = {"weights": 1.0, "trained": 1.0}  # what is there for sure: larger models are planned than were measured
_NINE_IN_TEN = 1.9  # standard deviations of a few dozen residuals, with room for what is not in the grid
_LEAST = 1.1  # no interval is narrower than a tenth to both sides


@dataclass(frozen=True)
class Judged:
    """One quantity of one configuration: measured, and what was planned."""

    name: str
    measured: float
    planned: Interval

    @property
    def error(self) -> float:
        return abs(self.planned.likely / self.measured - 1)


@dataclass(frozen=True)
class Quantity:
    """Memory or time: its parts, the constants in use, and how it is shown."""

    key: str
    parts: Callable[[Record], dict[str, float]]
    constants: Mapping[str, float]
    spread: Interval


def report(records: Sequence[Record], held_out: str, fit: bool) -> None:
    """Print planned against measured as a table; with `fit`, constants fitted to one part, and both parts by them."""
    kind = records[0]["device"]
    quantities = [
        Quantity("memory", _memory_parts, MEMORY[kind], MEMORY_SPREAD[kind]),
        Quantity("seconds", _time_parts, TIME[kind], TIME_SPREAD[kind]),
    ]
    known = [record for record in records if record["number"] % 3 and record["model"] != held_out]
    others = [record for record in records if record not in known]
    if fit:
        quantities = [_fitted(quantity, known) for quantity in quantities]
        for quantity in quantities:
            print(_constants(quantity, kind))
    judged = [[_judge(quantity, record) for record in records] for quantity in quantities]
    print("| configuration | planned GB | measured GB | planned s | measured s |\n|---|---|---|---|---|")
    for memory, seconds in zip(*judged, strict=True):
        print(
            f"| {memory.name} | {memory.planned.times(1e-9).shown('{:.2f}'.format)} | {memory.measured / 1e9:.2f} "
            f"| {seconds.planned.shown('{:.1f}'.format)} | {seconds.measured:.1f} |"
        )
    print("\n| of | configurations | median error | within the interval |\n|---|---|---|---|")
    for quantity in quantities:
        for part, chosen in (("fitted to", known), ("held out", others), ("all", records)):
            _print_summary(f"{quantity.key}, {part}", [_judge(quantity, record) for record in chosen])


def _print_summary(name: str, judged: Sequence[Judged]) -> None:
    if judged:
        inside = sum(each.planned.holds(each.measured) for each in judged)
        error = statistics.median(each.error for each in judged)
        print(f"| {name} | {len(judged)} | {error:.1%} | {inside} ({inside / len(judged):.0%}) |")


def _memory_parts(record: Record) -> dict[str, float]:
    shape, tune, work, rates = _inputs(record)
    width = 2 if rates.dtype == "bfloat16" else 4
    return memory_parts(shape, record["parameters"], tune, work, width, record["device"])


def _time_parts(record: Record) -> dict[str, float]:
    shape, tune, work, rates = _inputs(record)
    return time_parts(shape, record["parameters"], tune, work, rates)


def _inputs(record: Record) -> tuple[Shape, TuneRecipe, Work, Rates]:
    work = {**record["work"]}
    for key in ("training", "validation"):
        work[key] = Passes(**work[key])
    return Shape(**record["shape"]), TuneRecipe(**record["tune"]), Work(**work), Rates(**record["rates"])


def _judge(quantity: Quantity, record: Record) -> Judged:
    likely = sum(value * quantity.constants.get(name, 0.0) for name, value in quantity.parts(record).items())
    return Judged(record["name"], record[quantity.key], quantity.spread.times(likely))


def _fitted(quantity: Quantity, records: Sequence[Record]) -> Quantity:
    """Constants of least squared relative error, none below zero; the spread is that of each record left out."""
    constants = _solve(quantity, records)
    logs = []
    for number, record in enumerate(records):
        without = _solve(quantity, [*records[:number], *records[number + 1 :]])
        judged = _judge(replace(quantity, constants=without), record)
        logs.append(math.log(judged.measured / judged.planned.likely))
    reach = max(math.log(_LEAST), _NINE_IN_TEN * math.sqrt(statistics.fmean(value * value for value in logs)))
    return replace(quantity, constants=constants, spread=Interval(1.0, math.exp(-reach), math.exp(reach)))


def _solve(quantity: Quantity, records: Sequence[Record]) -> dict[str, float]:
    names = list(quantity.constants)
    rows = [[quantity.parts(record).get(name, 0.0) / record[quantity.key] for name in names] for record in records]
    held = [[_HOLD / (quantity.constants[name] or 1.0) if name == other else 0.0 for other in names] for name in names]
    wanted = np.array([1.0] * len(rows) + [_HOLD] * len(names))
    least = np.array([_AT_LEAST.get(name, 0.0) for name in names])
    found = lsq_linear(np.array(rows + held), wanted, (least, np.inf)).x
    return dict(zip(names, found.tolist(), strict=True))


def _constants(quantity: Quantity, kind: str) -> str:
    """As they are written in `carrara/models/fitted.py`."""
    name = {"memory": "MEMORY", "seconds": "TIME"}[quantity.key]
    lines = [
        f"# {name}[{kind!r}], {name}_SPREAD[{kind!r}]",
        json.dumps({k: float(f"{v:.3g}") for k, v in quantity.constants.items()}, indent=4),
    ]
    spread = quantity.spread
    return "\n".join([*lines, f"Interval({spread.likely:g}, {spread.low:.2f}, {spread.high:.2f})\n"])
