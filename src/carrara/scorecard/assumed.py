"""What tuning a candidate would take, from the catalogue alone: the planner on assumed rates, without torch.

How fast a machine computes is not measured here, since that needs torch; it is taken to be what machines of its kind
usually reach, and the interval is wider for it. `carrara models plan` measures.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from carrara.data.render.plan import Lengths, plan_run
from carrara.models.catalogue import Shape
from carrara.models.estimate import trained_parameters
from carrara.models.interval import Interval
from carrara.models.machine import Machine, count_cores, left_to_container
from carrara.models.plan import Plan
from carrara.models.rates import Rates
from carrara.recipe import CostRecipe, Recipe, override
from carrara.scorecard.candidate import Candidate

USUAL = Lengths([256] * 1000, learned=0.5)  # rows, where none are known, as `carrara models plan` assumes
METHODS = ("full", "lora", "qlora")
# Operations a second of a core, with its bfloat16 or without; of an accelerator; and bytes a second of either.
_CORE, _CORE_32, _ACCELERATOR = 250e9, 30e9, 100e12
_MOVED = {"cpu": 12e9, "cuda": 1e12}
_CALL = {"cpu": 1e-6, "cuda": 5e-6}  # seconds
_SPREAD = {"cpu": Interval(1.0, 1 / 3, 3.0), "cuda": Interval(1.0, 1 / 6, 4.0)}  # of the time that follows
_BITS = 2.0  # that a trained parameter holds, and a learned token brings about one (see `method_for`)


def glance(memory: float | None) -> Machine:
    """This machine as it can be told without torch, with so much memory to work in if a limit names it."""
    import psutil

    free = int(min(psutil.virtual_memory().available, left_to_container()))
    total = psutil.virtual_memory().total
    found = _accelerator()
    name, own = found or (None, 0)
    limit = int(memory) if memory else None
    return Machine(
        cores=count_cores(),
        memory=total,
        memory_free=free if limit is None or found else limit,
        accelerator=name,
        accelerator_memory=(limit or own) if found else 0,
        bfloat16=found is not None or _has_bfloat16(),
    )


def _accelerator() -> tuple[str, int] | None:
    """The name and the bytes of the first NVIDIA card, as its driver tells."""
    if not Path("/dev/nvidiactl").exists() or not shutil.which("nvidia-smi"):
        return None
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout
        name, _, size = told.splitlines()[0].rpartition(",")
        return name.strip(), int(size) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not on Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def assumed_rates(machine: Machine) -> Rates:
    """What machines of this kind usually reach."""
    kind = "cuda" if machine.accelerator else "cpu"
    a_core = _CORE if machine.bfloat16 else _CORE_32
    products = _ACCELERATOR if machine.accelerator else a_core * machine.cores
    return Rates("bfloat16" if machine.bfloat16 else "float32", products, _MOVED[kind], _CALL[kind])


def plans_of(candidate: Candidate, rows: Lengths, machine: Machine, cost: CostRecipe) -> dict[str, Plan]:
    """The plan of each method by its name; an embedder, which is not tuned, has none."""
    if not candidate.writes:
        return {}
    size = candidate.shape, candidate.parameters
    return {method: plan_assumed(*size, method, rows, machine, cost) for method in METHODS}


def plan_assumed(shape: Shape, parameters: int, method: str, rows: Lengths, machine: Machine, cost: CostRecipe) -> Plan:
    """The plan of a method on a machine that was only looked at."""
    rates = assumed_rates(machine)
    tune = override(Recipe(), {"tune": {"method": method}}).tune
    plan = plan_run(shape, parameters, tune, rows, machine, rates, cost)
    spread = _SPREAD["cuda" if machine.accelerator else "cpu"]
    missing = "needs bitsandbytes" if method == "qlora" and find_spec("bitsandbytes") is None else plan.reason
    what = machine.accelerator or f"{machine.cores} cores"
    return replace(
        plan,
        seconds=plan.seconds.by(spread),
        energy_wh=plan.energy_wh.by(spread),
        money=plan.money.by(spread),
        reason=missing,
        basis=f"assumed, not measured: {rates.products / 1e9:,.0f} billion operations a second in {rates.dtype} on "
        f"{what}, right within a factor of {spread.high:.0f} or so; `carrara models plan` measures this machine.",
    )


def method_for(candidate: Candidate, plans: Mapping[str, Plan], rows: Lengths, budget: float | None) -> str | None:
    """The method to tune with, None where none keeps to memory and budget.

    LoRA, unless the rows hold more than its matrices can: about one bit a learned token against two a trained
    parameter (Schulman and others 2025, "LoRA Without Regret"), then all weights, if they fit; and 4 bits where
    neither does.
    """
    allowed = [name for name, plan in plans.items() if plan.fits and (budget is None or plan.money.likely <= budget)]
    lora = Recipe().tune
    room = _BITS * trained_parameters(candidate.shape, candidate.parameters, lora)
    crowded = sum(rows.train) * rows.learned > room
    order = ("full", "lora", "qlora") if crowded else ("lora", "qlora", "full")
    return next((name for name in order if name in allowed), None)
