"""`carrara compare`: scores before and after become verdicts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.recipe import GateRule
    from carrara.verdict.stage import Comparison


def compare_command(
    base: Annotated[str, typer.Argument(help="Scores before: a file, scores/<id>, or a model's name (its newest).")],
    tuned: Annotated[
        list[str], typer.Argument(metavar="TUNED…", help="Scores after: a file, scores/<id>, or a run (its newest).")
    ],
    margin: Annotated[float, typer.Option(min=0.0, help="A loss of at most so many points counts as no worse.")] = 1.5,
    gate: Annotated[
        str | None, typer.Option(help="Rules that decide the exit code (1 if not met): a recipe, or a sentence.")
    ] = None,
    looked: Annotated[
        bool, typer.Option(help="One of several looks while --limit grows: only what stays valid then counts.")
    ] = False,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Say per task whether each tuned model got better or worse, with intervals; write reports."""
    from carrara.verdict.stage import compare_several_scores, find_scores, require_gates
    from carrara.workspace import open_workspace

    store = open_workspace(workspace)
    rules = _rules(gate) if gate is not None else ()
    before, after = find_scores(store, base), [find_scores(store, each) for each in tuned]
    comparisons = compare_several_scores(store, before, after, margin, rules, make_progress(), looked)
    if json:
        told = [{"tuned": name, **verdict_json(each)} for name, each in zip(tuned, comparisons, strict=True)]
        print_json(told if len(tuned) > 1 else verdict_json(comparisons[0]))
    else:
        for name, comparison in zip(tuned, comparisons, strict=True):
            if len(tuned) > 1:
                print_line(f"tuned     {name}")
            print_verdict(comparison)
    require_gates(comparisons)


def _rules(gate: str) -> tuple[GateRule, ...]:
    """The rules of a sentence, or of the recipe that a path names."""
    from carrara.errors import Refusal
    from carrara.recipe import gate_rules, read_recipe

    if not (gate.endswith((".yaml", ".yml")) or os.path.isfile(gate)):
        return gate_rules(gate)
    rules = read_recipe(Path(gate)).gate
    if not rules:
        raise Refusal(f"the recipe {gate} has no gate, so nothing would be checked; add one, or leave --gate away.")
    return rules


def verdict_json(comparison: Comparison) -> dict[str, Any]:
    """What a program reads of a verdict."""
    rows = [
        {
            "task": row.task,
            "metric": row.metric,
            "base": row.base,
            "tuned": row.tuned,
            "delta": row.delta,
            "ci": list(row.ci),
            "p": row.p,
            "p_adjusted": row.p_adjusted,
            "n": row.n,
            "won": row.won,
            "lost": row.lost,
            "detectable": row.detectable,
            "unit": row.unit,
            "primary": row.primary,
            "clusters": row.clusters,
            "verdict": row.verdict,
        }
        for row in comparison.verdict.verdicts
    ]
    return {
        "verdict": comparison.verdict.verdict,
        "verdicts": rows,
        "notes": list(comparison.verdict.notes),
        "gate": [{"passed": result.passed, "sentence": result.sentence} for result in comparison.gate],
        "report": str(comparison.report),
    }


def print_verdict(comparison: Comparison) -> None:
    """The verdict as a table and a sentence."""
    from carrara.verdict import formats
    from carrara.verdict.compare import headline

    rows = [
        [
            f"{row.task} {row.metric}" if row.primary else f"  {row.metric} (secondary)",
            formats.value(row, row.base),
            formats.value(row, row.tuned),
            formats.difference(row, row.delta),
            f"{formats.difference(row, row.ci[0])} to {formats.difference(row, row.ci[1])}",
            formats.p_value(row.p_adjusted) if row.primary else "–",
            f"{row.n} in {row.clusters}" if row.clusters else str(row.n),
            row.verdict,
        ]
        for row in comparison.verdict.verdicts
    ]
    print_table(["task", "before", "after", "change", "95 % interval", "p (Holm)", "n", "verdict"], rows)
    for note in comparison.verdict.notes:
        print_line(f"note      {note}")
    for result in comparison.gate:
        print_line(f"gate      {'met' if result.passed else 'NOT MET'}: {result.sentence}")
    print_line(f"verdict   {comparison.verdict.verdict}: {headline(comparison.verdict)}")
    print_line(f"report    {comparison.report}")
