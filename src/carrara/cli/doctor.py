"""`carrara doctor`: what this machine can do and what is missing, and whether anything would leave it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.errors import GateFailed
from carrara.wording import duration, line

if TYPE_CHECKING:
    from carrara.privacy import Privacy
    from carrara.workspace import Workspace


def doctor_command(
    privacy: Annotated[
        bool, typer.Option("--privacy", help="Tune, chat and serve on a few rows under watch; show what would go out.")
    ] = False,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Show the machine as Carrara sees it, and the line that mends what is missing."""
    from carrara.workspace import open_workspace

    store = open_workspace(workspace)
    if privacy:
        _privacy(store, json)
    else:
        _machine(store, json)


def _machine(workspace: Workspace, json: bool) -> None:
    from carrara.doctor import examine

    findings = examine(workspace)
    if json:
        print_json({"findings": [vars(finding) for finding in findings], "healthy": all(f.fine for f in findings)})
        return
    for finding in findings:
        print_line(f"{'ok ' if finding.fine else '!  '}{finding.subject:<12}{finding.state}")
        if finding.remedy:
            print_line(f"               {finding.remedy}")


def _privacy(workspace: Workspace, json: bool) -> None:
    from carrara.privacy import examine_privacy

    make_progress().say("preparing, tuning, evaluating, chatting and serving on a few rows under watch; about a minute")
    found = examine_privacy(workspace)
    if json:
        print_json(
            {
                "holds": found.holds,
                "outbound": found.outbound,
                "model": found.model,
                "open_because": found.open_because,
                "unrouted": found.unrouted,
                "stopped": found.stopped,
                "seconds": found.seconds,
                "seen": [{**asdict(attempt), "count": count} for attempt, count in found.seen.items()],
            }
        )
    else:
        _print_privacy(found)
    if found.outbound:
        raise GateFailed(f"{found.outbound} attempts to reach beyond this machine were seen; they are listed above.")
    if found.stopped:
        raise GateFailed(f"the way was not gone to its end, so nothing is shown: {found.stopped}")


def _print_privacy(found: Privacy) -> None:
    print_line(f"way       prepare, tune, evaluate, compare, export, chat, serve, in {duration(found.seconds)}")
    print_line(f"model     {found.model}")
    if found.open_because is None:
        print_line("network   cut off by the system, for this and every program it started")
        print_line(f"unrouted  {found.unrouted} attempts that the system itself counted")
    else:
        print_line(f"network   could not be cut off ({found.open_because}): seen is what Python code tried, no more")
    print_line(f"outbound  {found.outbound}")
    if found.seen:
        rows = sorted((each.reach, each.call, line(each.target), str(count)) for each, count in found.seen.items())
        print_table(["reach", "call", "to", "times"], [list(row) for row in rows])
    else:
        print_line("seen      no connection, no look-up, no other program")
