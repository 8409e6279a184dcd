"""`carrara runs`: what the workspace holds, and what each thing was made from."""

from __future__ import annotations

from typing import Annotated

import typer

from carrara.cli.console import print_json, print_table
from carrara.cli.options import JsonOption, WorkspaceOption

_KINDS = ("run", "scores", "verdict", "dataset", "model", "benchmark", "package")


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
    rows = [[a.reference, a.name, a.created[:19], " ".join(a.inputs.values())] for a in found]
    print_table(["id", "name", "made (UTC)", "from"], rows)
