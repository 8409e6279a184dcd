"""`carrara check`: the truth check of a recipe, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line
from carrara.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.tune.truth import Truth


def check_command(
    recipe: Annotated[Path, typer.Argument(help="Recipe in YAML: model, data, tune …")],
    model: Annotated[str | None, typer.Option(help="Overrides the recipe's model.")] = None,
    data: Annotated[str | None, typer.Option(help="Overrides the recipe's data.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Let this check find something; repeatable.")] = None,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Look at rows, tokenizer, template and the first gradient as `tune` would, and train nothing."""
    from carrara.data.prepare.stage import prepare_dataset
    from carrara.models import resolve_model
    from carrara.recipe import override, read_recipe
    from carrara.tune.rehearsal import rehearse
    from carrara.tune.truth import require_truth
    from carrara.workspace import open_workspace

    read = read_recipe(recipe)
    given: dict[str, Any] = {"model": model, "data": data}
    wanted = override(read, given | ({"tune": {"allow": [*read.tune.allow, *allow]}} if allow else {}))
    progress, store = make_progress(), open_workspace(workspace)
    dataset = prepare_dataset(store, wanted, progress)
    truth = rehearse(resolve_model(store, wanted.model, progress), dataset, wanted, progress)
    if json:
        print_json(truth.to_json())
    else:
        _print(truth)
    require_truth(truth)


def _print(truth: Truth) -> None:
    facts = truth.facts
    print_line(
        f"rows      {facts['rows']:,}, {facts['rows_cut']:,} of them cut; {facts['tokens']:,} tokens, "
        f"{facts['supervised_tokens']:,} of them learned ({facts['supervised_share']:.0%})"
    )
    print_line(f"ends      {', '.join(facts['ends_with']) or 'none'}")
    print_line(
        f"steps     {facts['steps']:,} at a learning rate of at most {facts['learning_rate']:g}; "
        f"{facts['trainable']:,} weights learn"
    )
    for finding in truth.allowed:
        print_line(f"allowed   {finding.check}: {finding.sentence}")
    wrong = f"{len(truth.findings)} wrong" if truth.findings else "nothing wrong"
    print_line(f"checked   {wrong}, in {facts['seconds']} s")
