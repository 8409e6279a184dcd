"""`carrara run`: the whole way of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.compare import print_verdict, verdict_json
from carrara.cli.console import make_progress, print_json, print_line
from carrara.cli.options import BenchmarksOption, JsonOption, WorkspaceOption
from carrara.cli.tune import ledger_line

if TYPE_CHECKING:
    from carrara.way import Way


def run_command(
    recipe: Annotated[Path, typer.Argument(help="Recipe in YAML: model, data, tune, evaluate, gate.")],
    benchmarks: BenchmarksOption = None,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Prepare, tune, evaluate before and after, compare; a step whose result stands is skipped."""
    from carrara.recipe import override, read_recipe
    from carrara.way import walk
    from carrara.workspace import open_workspace

    wanted = override(read_recipe(recipe), {"evaluate": {"benchmarks": benchmarks}})
    way = walk(open_workspace(workspace), wanted, make_progress())
    if json:
        print_json(way_json(way))
    else:
        print_way(way)
    way.comparison.require_gate()


def way_json(way: Way) -> dict[str, Any]:
    """What a program reads of a finished way."""
    return {
        "dataset": way.dataset.artefact.reference,
        "run": way.run.artefact.reference,
        "scores": {"base": str(way.base.path), "tuned": str(way.tuned.path)},
        **verdict_json(way.comparison),
    }


def print_way(way: Way) -> None:
    """What a person reads of a finished way: the verdict, what it cost, and how to chat with the result."""
    print_verdict(way.comparison)
    print_line(f"cost      {ledger_line(way.run.ledger, way.recipe.cost)}")
    print_line(f"chat      carrara chat {way.run.artefact.reference}")
