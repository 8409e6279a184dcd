"""`carrara tune`: a recipe becomes a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.cli.wanted import begin_with, read_wanted

if TYPE_CHECKING:
    from carrara.recipe import CostRecipe, Recipe
    from carrara.tune.ledger import Ledger
    from carrara.tune.run import Run
    from carrara.workspace import Workspace


def tune_command(
    recipe: Annotated[Path, typer.Argument(help="Recipe in YAML: model, data, tune …")],
    method: Annotated[
        str | None, typer.Option(help="lora, qlora, full, ia3, prefix or prompt; overrides the recipe.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Overrides the recipe's model.")] = None,
    data: Annotated[str | None, typer.Option(help="Overrides the recipe's data.")] = None,
    from_run: Annotated[str | None, typer.Option("--from", help="Move on from this run, instead of a model.")] = None,
    batch: Annotated[
        str | None,
        typer.Option(help="Tokens of a micro-batch, or auto for the most that fit; the batch stays the same."),
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="Train although this check finds something; repeatable.")
    ] = None,
    track: Annotated[
        list[str] | None, typer.Option(help="Also send curves to tensorboard, mlflow, trackio or wandb; repeatable.")
    ] = None,
    canaries: Annotated[
        int | None, typer.Option(help="Plant so many made-up secrets, so that `scorecard` can tell what leaks.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on from a killed run's checkpoint.")] = True,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Fine-tune a model; run again after a kill, it goes on where it was."""
    from carrara.data.prepare.stage import prepare_dataset
    from carrara.progress import Silent
    from carrara.tune.distributed import join_world
    from carrara.tune.run import tune_model
    from carrara.tune.trackers import require_trackers
    from carrara.workspace import open_workspace

    tokens = int(batch) if batch and batch.isdecimal() else batch
    changed = {
        "method": method,
        "micro_batch_tokens": tokens,
        "allow": allow,
        "track": track,
        "canaries": canaries,
    }
    wanted = read_wanted(recipe, model, from_run, data, **changed)
    require_trackers(wanted.tune.track)
    progress = make_progress() if join_world().leads else Silent()
    store = open_workspace(workspace)
    base = begin_with(store, wanted, from_run, progress)
    dataset = prepare_dataset(store, wanted, progress)
    progress.say(f"{base.name} learns {dataset.artefact.name} ({dataset.artefact.reference})")
    try:
        run = tune_model(store, base, dataset, wanted, progress, fresh=not resume)
    except KeyboardInterrupt:
        if not resume:
            progress.say("without --no-resume it goes on from there")
        raise
    if not join_world().leads:
        return
    if json:
        print_json(_result(store, run, wanted))
    else:
        _print(store, run, wanted)


def _result(store: Workspace, run: Run, recipe: Recipe) -> dict[str, Any]:
    """What a program reads of a run."""
    from carrara.tune.account import ancestors, outcomes

    ledger, summary = run.ledger, run.artefact.summary
    return {
        "run": run.artefact.reference,
        "method": summary["method"],
        "from": [ancestor.reference for ancestor in ancestors(store, run)],
        "steps": summary["steps"],
        "tokens": ledger.tokens,
        "seconds": ledger.seconds,
        "validation_seconds": ledger.validation_seconds,
        "tokens_per_second": ledger.tokens_per_second,
        "loss": summary["loss"],
        "validation_loss": _held_out(run),
        "kept": summary["kept"],
        "canaries": summary.get("canaries"),
        "peak_memory_mb": ledger.peak_memory_mb,
        "energy_wh": ledger.energy_wh,
        "energy_kind": ledger.energy_kind,
        "cost": ledger.money(recipe.cost),
        "currency": recipe.cost.currency,
        "planned": {outcome.name: outcome.to_json() for outcome in outcomes(run, recipe.cost)},
        "path": str(run.artefact.path),
    }


def _held_out(run: Run) -> dict[str, float] | None:
    """The held-out losses by where they were measured, None if none was."""
    measured = [point for point in run.curve if "validation_loss" in point]
    kept = [point for point in measured if point["step"] == run.artefact.summary["kept"]["step"]]
    if not measured:
        return None
    names = {"first": measured[0], "last": measured[-1], **({"kept": kept[0]} if kept else {})}
    return {name: point["validation_loss"] for name, point in names.items()}


def _print(store: Workspace, run: Run, recipe: Recipe) -> None:
    """What a person reads of a run, and what can be done with it next."""
    from carrara.tune.account import ancestors, outcomes, plan_in_words, read_plan

    summary, reference = run.artefact.summary, run.artefact.reference
    loss, kept, held_out = summary["loss"], summary["kept"], _held_out(run)
    began = ancestors(store, run)
    print_line(f"run       {reference}")
    if began[0].kind == "run":
        print_line(f"from      {' ← '.join(ancestor.reference for ancestor in began)}")
    print_line(f"loss      {loss['first']:.3f} → {loss['last']:.3f} in {summary['steps']} steps")
    if held_out:
        began_at = f"{held_out['first']:.3f} → " if held_out["first"] != held_out["last"] else ""
        print_line(f"held-out  {began_at}{held_out['last']:.3f}")
    print_line(f"kept      step {kept['step']}: {kept['why']}")
    print_line(f"cost      {ledger_line(run.ledger, recipe.cost)}")
    if plan := read_plan(run.artefact.path):
        missed = [outcome.name for outcome in outcomes(run, recipe.cost) if not outcome.within]
        print_line(f"planned   {plan_in_words(plan)}" + (f"; missed: {', '.join(missed)}" if missed else ""))
    if planted := summary.get("canaries"):
        print_line(f"canaries  {planted}; `carrara scorecard {reference}` tells what it gives away of them")
    print_line(f"path      {run.artefact.path}")
    print_line(f"evaluate  carrara evaluate {reference}")
    print_line(f"compare   carrara compare {recipe.model} {reference}  (when both are evaluated)")
    print_line(f"chat      carrara chat {reference}")


def ledger_line(ledger: Ledger, cost: CostRecipe) -> str:
    """A ledger in one line."""
    validation = f"{ledger.validation_seconds:.0f} s for held-out losses, " if ledger.validation_seconds else ""
    return (
        f"{ledger.tokens:,} tokens in {ledger.seconds:.0f} s ({ledger.tokens_per_second:,.0f} tokens/s), {validation}"
        f"peak {ledger.peak_memory_mb:,.0f} MB, {ledger.energy_wh:.2f} Wh ({ledger.energy_kind}), "
        f"{ledger.money(cost):.4f} {cost.currency}"
    )
