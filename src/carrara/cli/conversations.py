"""`carrara conversations`: list and show what `chat --keep` kept, and erase all of a person."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from carrara.cli.console import print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.wording import line, lines

if TYPE_CHECKING:
    from pathlib import Path

    from carrara.serve.journal import Journal

conversations_app = typer.Typer(help="Kept conversations: list, show, erase.", rich_markup_mode=None)


@conversations_app.command("list")
def list_command(json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """The conversations that are kept, newest first."""
    found = _open(workspace).conversations()
    if json:
        print_json({"conversations": [asdict(entry) for entry in found]})
        return
    rows = [
        [line(each.conversation), line(each.person), line(each.model), each.time[:16].replace("T", " "),
         str(each.messages)] for each in found
    ]  # fmt: skip
    print_table(["conversation", "person", "model", "last (UTC)", "messages"], rows)


@conversations_app.command("show")
def show_command(
    conversation: Annotated[str, typer.Argument(help="Its name, as `list` shows it.")],
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """The messages of a conversation."""
    found = _open(workspace).messages(conversation)
    if json:
        print_json({"messages": [asdict(message) for message in found]})
        return
    for message in found:
        speaker = message.model if message.role == "assistant" else message.role
        print_line(f"{line(speaker)}, {message.time[:19].replace('T', ' ')}\n{lines(message.text)}\n")


@conversations_app.command("erase")
def erase_command(
    person: Annotated[str, typer.Option(help="Whose conversations, as `list` shows it.")],
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Remove all that a person said and was answered, leaving nothing of it in the file."""
    erased = _open(workspace).erase(person)
    if json:
        print_json({"person": person, "erased": erased})
    else:
        print_line(f"erased {erased} messages of {line(person)}")


def _open(workspace: Path | None) -> Journal:
    from carrara.serve.journal import open_journal
    from carrara.workspace import open_workspace

    return open_journal(open_workspace(workspace))
