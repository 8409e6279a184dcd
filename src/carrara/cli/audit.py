"""`carrara audit`: verify that the log of requests was not changed, and show its last lines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from carrara.cli.console import print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.errors import GateFailed
from carrara.wording import line

audit_app = typer.Typer(help="The log of who asked which model: verify, show.", rich_markup_mode=None)

_COLUMNS = (
    "number",
    "time",
    "who",
    "route",
    "model",
    "engine",
    "status",
    "reason",
    "prompt_tokens",
    "completion_tokens",
)


@audit_app.command("verify")
def verify_command(json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Say how many lines hold, or the first that does not and why; exits 1 then.

    The hash that is printed stands for the whole log up to there: kept elsewhere, it shows a log that was replaced.
    """
    from carrara.serve.audit import audit_path, verify
    from carrara.workspace import open_workspace

    path = audit_path(open_workspace(workspace))
    found = verify(path)
    if json:
        print_json({"holds": found.fault is None, **asdict(found)})
    elif found.fault is None:
        print_line(f"{found.sentence}; the last hash is {found.head}")
        if found.torn:
            print_line(f"{found.torn} bytes of an unfinished line stand at the end; the next request removes them")
    if found.fault is not None:
        raise GateFailed(
            f"the audit log {path} does not hold: {found.sentence}; lines before it that hold: {found.lines}."
        )


@audit_app.command("show")
def show_command(
    last: Annotated[int, typer.Option(min=1, help="How many lines.")] = 20,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """The last lines of the log, as they stand."""
    from carrara.serve.audit import audit_path, last_lines
    from carrara.workspace import open_workspace

    found = last_lines(audit_path(open_workspace(workspace)), last)
    if json:
        print_json({"lines": found})
        return
    rows = [[line(str(entry.get(column, ""))) for column in _COLUMNS] for entry in found]
    print_table(["line", "time (UTC)", *_COLUMNS[2:-2], "in", "out"], rows)
