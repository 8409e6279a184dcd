"""What tuning takes: of a run what its ledger says, of a base what the planner says."""

from __future__ import annotations

from collections.abc import Callable

from carrara.data.render.dataset import render_usable
from carrara.data.render.plan import lengths_of, plan_here
from carrara.models.energy import watts_at_work
from carrara.models.interval import Interval
from carrara.models.machine import choose_device, inspect_machine
from carrara.models.plan import Plan
from carrara.models.shape import shape_in
from carrara.recipe import Recipe
from carrara.scorecard.assumed import USUAL
from carrara.scorecard.figure import Figure, unknown
from carrara.scorecard.subject import Pair, Subject
from carrara.tune.run import Run

MEMORY, TIME, ENERGY = "memory of tuning", "time of tuning", "energy of tuning"


def tuning_figures(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """Memory in GB, time in seconds, energy in watt-hours."""
    if subject.model.source.kind == "run":
        return _ledger_figures(subject)
    if subject.model.is_embedder:
        return [unknown(TIME, "it turns texts into vectors, and is not tuned")]
    shape, parameters = shape_in(subject.model.path)
    rows, what = USUAL, "1,000 rows of 256 tokens, since no dataset is named"
    if subject.dataset:
        loaded = pair().model.loaded
        split = render_usable(subject.dataset, "train", loaded.tokenizer, loaded.context, subject.progress)
        held = render_usable(subject.dataset, "validation", loaded.tokenizer, loaded.context, subject.progress)
        shares = choose_device().type == "cpu"  # as a run does: there a pass computes once what its rows begin with
        rows = lengths_of(split, held, shares)
        what = f"the {len(split):,} training rows of {subject.dataset.artefact.name}"
    plan = plan_here(shape, parameters, Recipe().tune, rows, subject.cost)
    return planned_figures(plan, f"the planner's, for LoRA on {what}, once; {plan.basis}")


def planned_figures(plan: Plan, source: str) -> list[Figure]:
    """A plan as figures, whose intervals are of 90 %."""
    source = f"90 % interval, {source}"
    rows = (
        (MEMORY, plan.memory.times(1e-9), "GB", "What must be free to tune it."),
        (TIME, plan.seconds, "s", "How long the machine is busy."),
        (ENERGY, plan.energy_wh, "Wh", "What the meter will show for it."),
    )
    return [
        Figure(name, found.likely, (found.low, found.high), "derived", source, unit, "lower", meaning)
        for name, found, unit, meaning in rows
    ]


def _ledger_figures(subject: Subject) -> list[Figure]:
    run = subject.model.source
    ledger = Run(run).ledger
    seconds = ledger.seconds + ledger.validation_seconds
    where = f"the ledger of {subject.model.source.reference}"
    energy = Interval(ledger.energy_wh, ledger.energy_wh, ledger.energy_wh)
    how = f"{where}, measured by the processor's counters"
    if ledger.energy_kind != "measured":
        tuned = Recipe.model_validate_json((run.path / "recipe.json").read_text(encoding="utf-8"))
        told = subject.cost if subject.cost.watts else tuned.cost
        watts, known = watts_at_work(inspect_machine(), told)
        energy = watts.times(seconds / 3600)
        how = f"{where}: its seconds, at {watts.low:.0f} to {watts.high:.0f} W {known}"
    kind = "measured" if ledger.energy_kind == "measured" else "derived"
    ends = None if kind == "measured" else (energy.low, energy.high)
    return [
        Figure(
            MEMORY, ledger.peak_memory_mb / 1e3, None, "measured", where, "GB", "lower", "The most that tuning held."
        ),
        Figure(TIME, seconds, None, "measured", where, "s", "lower", "How long the machine was busy."),
        Figure(ENERGY, energy.likely, ends, kind, how, "Wh", "lower", "What the meter showed for it, or would have."),
    ]
