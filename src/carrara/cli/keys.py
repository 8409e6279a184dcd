"""`carrara keys`: who may ask the server."""

from __future__ import annotations

from typing import Annotated

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption

keys_app = typer.Typer(help="Keys to the server: add, list, remove.", rich_markup_mode=None)

_NameArgument = Annotated[str, typer.Argument(help="Whose key it is.")]


@keys_app.command("add")
def add_command(name: _NameArgument, workspace: WorkspaceOption = None) -> None:
    """Make a key, print it this once, and store its SHA-256; a running server with stored keys takes it at once."""
    from carrara.serve.keys import FILE, add_key
    from carrara.workspace import open_workspace

    key = add_key(open_workspace(workspace).root / FILE, name)
    make_progress().say(f"the key of {name}, which is not shown again:")
    print_line(key)


@keys_app.command("list")
def list_command(json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """The names of the stored keys."""
    from carrara.serve.keys import FILE, read_keys
    from carrara.workspace import open_workspace

    entries = read_keys(open_workspace(workspace).root / FILE)
    if json:
        print_json({"keys": [{"name": name, "created": entry["created"]} for name, entry in entries.items()]})
    elif entries:
        print_table(["name", "created"], [[name, entry["created"]] for name, entry in entries.items()])
    else:
        make_progress().say("no keys are stored; `carrara keys add NAME` makes one.")


@keys_app.command("remove")
def remove_command(name: _NameArgument, workspace: WorkspaceOption = None) -> None:
    """Forget a key; a running server refuses it from then on."""
    from carrara.serve.keys import FILE, remove_key
    from carrara.workspace import open_workspace

    remove_key(open_workspace(workspace).root / FILE, name)
    make_progress().say(f"the key of {name} is gone.")
