"""`carrara tune`: a recipe becomes a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line
from carrara.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.recipe import CostRecipe
    from carrara.tune.ledger import Ledger


def tune_command(
    recipe: Annotated[Path, typer.Argument(help="Recipe in YAML: model, data, tune …")],
    method: Annotated[str | None, typer.Option(help="lora or full; overrides the recipe.")] = None,
    model: Annotated[str | None, typer.Option(help="Overrides the recipe's model.")] = None,
    data: Annotated[str | None, typer.Option(help="Overrides the recipe's data.")] = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on from a killed run's checkpoint.")] = True,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Fine-tune a model; run again after a kill, it goes on where it was."""
    from carrara.data.prepare.stage import prepare_dataset
    from carrara.models import resolve_model
    from carrara.recipe import override, read_recipe
    from carrara.tune.distributed import join_world
    from carrara.tune.run import tune_model
    from carrara.workspace import open_workspace

    given: dict[str, Any] = {"model": model, "data": data, "tune": {"method": method}}
    wanted = override(read_recipe(recipe), given)
    progress = make_progress()
    store = open_workspace(workspace)
    dataset = prepare_dataset(store, wanted, progress)
    base = resolve_model(store, wanted.model, progress)
    run = tune_model(store, base, dataset, wanted, progress, fresh=not resume)
    if not join_world().leads:
        return
    ledger, summary = run.ledger, run.artefact.summary
    if json:
        print_json(
            {
                "run": run.artefact.reference,
                "steps": summary["steps"],
                "tokens": ledger.tokens,
                "seconds": ledger.seconds,
                "tokens_per_second": ledger.tokens_per_second,
                "loss": summary["loss"],
                "peak_memory_mb": ledger.peak_memory_mb,
                "energy_wh": ledger.energy_wh,
                "energy_kind": ledger.energy_kind,
                "cost": ledger.money(wanted.cost),
                "currency": wanted.cost.currency,
                "path": str(run.artefact.path),
            }
        )
        return
    loss = summary["loss"]
    print_line(f"run       {run.artefact.reference}")
    print_line(f"loss      {loss['first']:.3f} → {loss['last']:.3f} in {summary['steps']} steps")
    print_line(f"cost      {ledger_line(ledger, wanted.cost)}")
    print_line(f"path      {run.artefact.path}")


def ledger_line(ledger: Ledger, cost: CostRecipe) -> str:
    """A ledger in one line."""
    return (
        f"{ledger.tokens:,} tokens in {ledger.seconds:.0f} s ({ledger.tokens_per_second:,.0f} tokens/s), "
        f"peak {ledger.peak_memory_mb:,.0f} MB, {ledger.energy_wh:.2f} Wh ({ledger.energy_kind}), "
        f"{ledger.money(cost):.4f} {cost.currency}"
    )
