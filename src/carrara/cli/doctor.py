"""`carrara doctor`: what this machine can do and what is missing."""

from __future__ import annotations

from carrara.cli.console import print_json, print_line
from carrara.cli.options import JsonOption, WorkspaceOption


def doctor_command(json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Show the machine as Carrara sees it, and the line that mends what is missing."""
    from carrara.doctor import examine
    from carrara.workspace import open_workspace

    findings = examine(open_workspace(workspace))
    if json:
        print_json({"findings": [vars(finding) for finding in findings], "healthy": all(f.fine for f in findings)})
        return
    for finding in findings:
        print_line(f"{'ok ' if finding.fine else '!  '}{finding.subject:<12}{finding.state}")
        if finding.remedy:
            print_line(f"               {finding.remedy}")
