"""What the report tells of a run beside its scores: what it took, its data, its recipe."""

from __future__ import annotations

import json
from typing import Any

from carrara.recipe import Recipe
from carrara.tune.account import ancestors, outcomes, plan_rows
from carrara.tune.run import Run
from carrara.workspace import Workspace

COST, LINEAGE, RECIPE = "What it took", "Lineage", "Recipe"  # titles of tables


def run_details(workspace: Workspace, run: Run) -> dict[str, dict[str, Any]]:
    """Tables of label and value by their title."""
    recipe = Recipe.model_validate(json.loads((run.artefact.path / "recipe.json").read_text(encoding="utf-8")))
    ledger, summary = run.ledger, run.artefact.summary
    data = workspace.get(run.artefact.inputs["dataset"]).summary
    rows = data["rows"]
    planned = plan_rows(outcomes(run, recipe.cost))
    return {
        COST: {
            "Tokens trained on": f"{ledger.tokens:,}, of which {ledger.supervised_tokens:,} were learned",
            "Time": f"{ledger.seconds:.0f} s ({ledger.tokens_per_second:,.0f} tokens/s), and "
            f"{ledger.validation_seconds:.0f} s for held-out losses",
            "Peak memory": f"{ledger.peak_memory_mb:,.0f} MB",
            "Energy": f"{ledger.energy_wh:.2f} Wh ({ledger.energy_kind})",
            "Cost": f"{ledger.money(recipe.cost):.4f} {recipe.cost.currency} "
            f"(at {recipe.cost.per_hour} per hour and {recipe.cost.per_kwh} per kWh)",
            "Parameters trained": f"{summary['trainable']:,}",
        },
        **({"Plan, and what it was": planned} if planned else {}),
        LINEAGE: {each.reference: each.name for each in [run.artefact, *ancestors(workspace, run)]},
        "Data": {
            "Source": data["source"],
            "Rows": f"{rows['read']} read, {rows['kept']} kept, {rows['quarantined']} in quarantine",
            "Splits": ", ".join(f"{count} {split}" for split, count in data["splits"].items()),
        },
        RECIPE: _recipe_rows(recipe),
    }


def _recipe_rows(recipe: Recipe) -> dict[str, Any]:
    tune = {
        **recipe.tune.model_dump(),
        "learning_rate": recipe.tune.effective_learning_rate,
        "alpha": recipe.tune.effective_alpha,
    }
    return {"model": recipe.model, **{f"tune.{key}": value for key, value in tune.items() if value is not None}}
