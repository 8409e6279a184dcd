"""`carrara runs`: what the workspace holds, and what each thing was made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from carrara.cli.console import print_json, print_table
from carrara.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.workspace import Artefact, Workspace

_KINDS = (
    "run",
    "scores",
    "verdict",
    "dataset",
    "model",
    "benchmark",
    "package",
    "gguf",
    "reference",
    "figures",
    "curve",
)


def runs_command(
    kind: Annotated[str | None, typer.Argument(help=f"Only one kind: {', '.join(_KINDS)}.")] = None,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """List runs, scores, datasets and models with their lineage."""
    from carrara.errors import Refusal
    from carrara.workspace import open_workspace

    if kind and kind not in _KINDS:
        raise Refusal(f"there is no kind '{kind}'; known are {', '.join(_KINDS)}.")
    store = open_workspace(workspace)
    found = [artefact for name in ([kind] if kind else _KINDS) for artefact in store.list(name)]
    if json:
        listing = [
            {"id": a.reference, "name": a.name, "created": a.created, "inputs": dict(a.inputs), "path": str(a.path)}
            for a in found
        ]
        print_json({"workspace": str(store.root), "artefacts": listing})
        return
    rows = [
        ["  " * depth + a.reference, a.name, a.created[:19], " ".join(a.inputs.values())]
        for depth, a in _by_descent(store, found)
    ]
    print_table(["id", "name", "made (UTC)", "from"], rows)


def _by_descent(store: Workspace, found: Sequence[Artefact]) -> Iterator[tuple[int, Artefact]]:
    """Each run right after the run that it moved on from, with how many runs came before it; all else as it is."""
    runs = {artefact.reference: artefact for artefact in found if artefact.kind == "run"}

    def descent(artefact: Artefact, depth: int) -> Iterator[tuple[int, Artefact]]:
        yield depth, artefact
        children = store.index.children(artefact.reference) if artefact.kind == "run" else ()
        for child in (run for reference, run in runs.items() if reference in children):
            yield from descent(child, depth + 1)

    for artefact in found:
        if artefact.kind != "run" or not runs.keys() & set(artefact.inputs.values()):
            yield from descent(artefact, 0)
