"""`carrara roles`: add, list, show and remove stored system prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carrara.cli.console import print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.errors import Refusal
from carrara.wording import line, lines

roles_app = typer.Typer(help="Roles, system prompts by name: add, list, show, remove.", rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(help="The name of the role.")]


@roles_app.command("add")
def add_command(
    name: NameArgument,
    text: Annotated[str | None, typer.Argument(help='Who to be, e.g. "You are a patient teacher."')] = None,
    file: Annotated[Path | None, typer.Option(help="A text file that says it instead.")] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Store a role, to be chosen by its name with `carrara chat --role`."""
    from carrara.serve.roles import add_role
    from carrara.workspace import open_workspace

    if (text is None) == (file is None):
        raise Refusal("a role is said by TEXT or by --file, one of the two.")
    add_role(open_workspace(workspace), name, _read(file) if file else text or "")


@roles_app.command("list")
def list_command(json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """The stored roles and how each begins."""
    from carrara.serve.roles import list_roles
    from carrara.workspace import open_workspace

    roles = list_roles(open_workspace(workspace))
    if json:
        print_json({"roles": [{"name": name, "text": text} for name, text in roles.items()]})
    else:
        print_table(["role", "text"], [[name, line(text, 80)] for name, text in roles.items()])


@roles_app.command("show")
def show_command(name: NameArgument, workspace: WorkspaceOption = None) -> None:
    """The text of a role."""
    from carrara.serve.roles import find_role
    from carrara.workspace import open_workspace

    print_line(lines(find_role(open_workspace(workspace), name)))


@roles_app.command("remove")
def remove_command(name: NameArgument, workspace: WorkspaceOption = None) -> None:
    """Forget a role."""
    from carrara.serve.roles import remove_role
    from carrara.workspace import open_workspace

    remove_role(open_workspace(workspace), name)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except OSError as error:
        raise Refusal(f"{path} cannot be read ({error.strerror}); give a text file.") from error
