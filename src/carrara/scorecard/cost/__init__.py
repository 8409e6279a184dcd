"""Cost: what data, tuning and serving take, measured here or planned, and what they come to at the user's prices.

What was measured knows no prices (`measure`), so that other prices need no measuring; `price` says what it comes to.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from carrara.errors import Refusal
from carrara.models import CatalogueModel
from carrara.models.catalogue import EMBEDDERS
from carrara.models.machine import count_cores
from carrara.recipe import CostRecipe
from carrara.scorecard.assumed import USUAL, glance, plan_assumed
from carrara.scorecard.cost.data import data_figures
from carrara.scorecard.cost.prices import Prices, price
from carrara.scorecard.cost.serving import memory_figure, serving_figures
from carrara.scorecard.cost.tuning import planned_figures, tuning_figures
from carrara.scorecard.figure import Figure, unknown
from carrara.scorecard.subject import Pair, Subject

FORMAT = 2  # raised when the same model would get other figures

__all__ = ["FORMAT", "Prices", "measure", "price", "published", "terms"]


def terms(subject: Subject) -> dict[str, Any]:
    """What determines the figures beside the model, its base, the rows and the seed: machine, power, engines."""
    return {"watts": subject.cost.watts, "cores": count_cores(), "llamacpp": find_spec("xllamacpp") is not None}


def measure(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """The figures of this criterion but for money; `pair` loads the weights where they are needed.

    A part that cannot be told is unknown with the reason, and the others stand.
    """
    parts: tuple[tuple[str, Callable[[], list[Figure]]], ...] = (
        ("data", lambda: data_figures(subject, pair)),
        ("tuning", lambda: tuning_figures(subject, pair)),
        ("serving", lambda: serving_figures(subject, pair())),
    )
    found: list[Figure] = []
    for name, tell in parts:
        try:
            found += tell()
        except Refusal as refusal:
            found.append(unknown(name, str(refusal)))
    return found


def published(entry: CatalogueModel) -> list[Figure]:
    """What follows from the catalogue's sizes alone, at assumed rates of this machine; nothing is loaded."""
    found = [unknown("tokens per second", "the model is not here, so it was not timed")]
    if entry.architecture in EMBEDDERS:
        return found
    plan = plan_assumed(entry.shape, entry.parameters, "lora", USUAL, glance(None), CostRecipe())
    how = f"the planner's, for LoRA on 1,000 rows of 256 tokens; {plan.basis}"
    return [*planned_figures(plan, how), memory_figure(entry.shape, entry.parameters), *found]
