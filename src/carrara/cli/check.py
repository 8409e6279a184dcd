"""`carrara check`: the truth check of a recipe, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carrara.cli.console import make_progress, print_json, print_line
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.cli.wanted import begin_with, read_wanted

if TYPE_CHECKING:
    from carrara.tune.truth import Truth


def check_command(
    recipe: Annotated[Path, typer.Argument(help="Recipe in YAML: model, data, tune …")],
    method: Annotated[str | None, typer.Option(help="Overrides the recipe's method.")] = None,
    model: Annotated[str | None, typer.Option(help="Overrides the recipe's model.")] = None,
    data: Annotated[str | None, typer.Option(help="Overrides the recipe's data.")] = None,
    from_run: Annotated[str | None, typer.Option("--from", help="Move on from this run, instead of a model.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Let this check find something; repeatable.")] = None,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Look at rows, tokenizer, template and the first gradient as `tune` would, and train nothing."""
    from carrara.data.prepare.stage import prepare_dataset
    from carrara.tune.rehearsal import rehearse
    from carrara.tune.truth import require_truth
    from carrara.workspace import open_workspace

    wanted = read_wanted(recipe, model, from_run, data, method=method, allow=allow)
    progress, store = make_progress(), open_workspace(workspace)
    base = begin_with(store, wanted, from_run, progress)
    truth = rehearse(base, prepare_dataset(store, wanted, progress), wanted, progress)
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
    print_line(f"lost      {facts['rows_unusable']:,} rows cannot be used, {facts['rows_set_aside']:,} were set aside")
    print_line(f"ends      {', '.join(facts['ends_with']) or 'none'}")
    print_line(
        f"steps     {facts['steps']:,} at a learning rate of at most {facts['learning_rate']:g}; "
        f"{facts['trainable']:,} weights learn"
    )
    for finding in truth.allowed:
        print_line(f"allowed   {finding.check}: {finding.sentence}")
    wrong = f"{len(truth.findings)} wrong" if truth.findings else "nothing wrong"
    print_line(f"checked   {wrong}, in {facts['seconds']} s")
