"""What a run took beside what was planned, and what it moved on from, in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from carrara.models.plan import Plan, plan_from_json
from carrara.recipe import CostRecipe
from carrara.tune.ledger import Outcome, compare_with_plan
from carrara.wording import duration
from carrara.workspace import Artefact, Workspace

if TYPE_CHECKING:
    from carrara.tune.run import Run

PLAN = "plan.json"

_SHOWN: Mapping[str, tuple[str, Callable[[float], str]]] = MappingProxyType(
    {
        "seconds": ("time", duration),
        "memory": ("peak memory", lambda value: f"{value / 1e6:,.0f} MB"),
        "energy_wh": ("energy", lambda value: f"{value:.2f} Wh"),
        "money": ("money", lambda value: f"{value:.4f}"),
    }
)


def read_plan(folder: Path) -> Plan | None:
    """The plan of the run in a folder, finished or not, if there was one."""
    path = folder / PLAN
    return plan_from_json(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def plan_in_words(plan: Plan) -> str:
    """What a run will take, in one line: what is likely, and between what it lies."""
    planned = ", ".join(getattr(plan, name).shown(number) for name, (_, number) in _SHOWN.items())
    return f"{planned} {plan.currency}{f'; it {plan.reason}' if plan.reason else ''}"


def outcomes(run: Run, cost: CostRecipe) -> tuple[Outcome, ...]:
    """What was planned and what it was; empty for a run of which there was no plan."""
    plan = read_plan(run.artefact.path)
    return compare_with_plan(run.ledger, plan, cost) if plan else ()


def plan_rows(found: Sequence[Outcome]) -> dict[str, str]:
    """What was and what was planned, such as `1,420 MB; planned 1,380 MB (1,200 MB to 1,600 MB)`, by its label."""
    rows = {}
    for outcome in found:
        label, number = _SHOWN[outcome.name]
        missed = "" if outcome.within else ", missed"
        rows[label.capitalize()] = f"{number(outcome.was)}; planned {outcome.planned.shown(number)}{missed}"
    return rows


def ancestors(workspace: Workspace, run: Run) -> list[Artefact]:
    """The runs that this one moved on from, the nearest first, and last the model they all began with."""
    found = [workspace.get(run.artefact.inputs["model"])]
    while found[-1].kind == "run":
        found.append(workspace.get(found[-1].inputs["model"]))
    return found
