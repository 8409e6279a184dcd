"""`carrara explain`: why a score is not the one that a protocol would give."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from carrara.cli.console import print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption


def explain_command(
    scores: Annotated[str, typer.Argument(help="A score file, scores/<id>, or a model or run (its newest scores).")],
    against: Annotated[str, typer.Option(help="lm-eval-0.4, lm-eval-0.4-openllm or leaderboard-2023-10.")],
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Name each rule that differs from a protocol's, say what it moves, and tell what follows from the same answers."""
    from carrara.evaluate.explain import explain
    from carrara.evaluate.protocol import find_protocol
    from carrara.evaluate.scores import read_scores
    from carrara.verdict.stage import find_scores
    from carrara.workspace import open_workspace

    protocol = find_protocol(against)
    explanation = explain(read_scores(find_scores(open_workspace(workspace), scores)), protocol)
    if json:
        print_json(asdict(explanation))
        return
    if explanation.differences:
        rows = [[found.task, found.rule, found.found, found.wanted, found.effect] for found in explanation.differences]
        print_table(["task", "rule", "here", against, "effect"], rows)
    else:
        print_line(f"every rule is that of {against}")
    for figure in explanation.told:
        print_line(f"told      {figure.task} {figure.metric} {figure.value:.4f} under {against}, of the same answers")
