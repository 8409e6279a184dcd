"""Stored roles: system prompts that are chosen by name, one small text file each."""

from __future__ import annotations

import re
from pathlib import Path

from carrara.errors import Refusal
from carrara.progress import Progress
from carrara.wording import line
from carrara.workspace import Workspace, write_atomically

LONGEST = 100_000  # characters of a role

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # no capitals: some disks take "Poet" and "poet" for the same file


def add_role(workspace: Workspace, name: str, text: str) -> None:
    """Store a role; raises Refusal for a name or text that cannot be one, and for a name that is taken."""
    path = _path(workspace, name)
    if not (text := text.strip()):
        raise Refusal(f"the role '{name}' has no text; say who the model is to be.")
    if len(text) > LONGEST:
        raise Refusal(f"the role '{name}' has {len(text):,} characters, but may have {LONGEST:,}; shorten it.")
    if path.exists() and find_role(workspace, name) != text:
        raise Refusal(f"there is a role '{name}' already; remove it first with `carrara roles remove {name}`.")
    path.parent.mkdir(exist_ok=True)
    try:
        write_atomically(path, text + "\n")
    except UnicodeEncodeError as error:
        raise Refusal(f"the text of the role '{name}' is no UTF-8 text; convert it first.") from error


def find_role(workspace: Workspace, name: str) -> str:
    """The text of a stored role; raises Refusal naming those there are."""
    path = _path(workspace, name)
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        known = ", ".join(_names(workspace)) or "none yet"
        raise Refusal(f"there is no role '{name}' (stored: {known}); `carrara roles add` stores one.") from None
    except UnicodeDecodeError as error:
        raise Refusal(f"the role {path} is no UTF-8 text; remove it and add it again.") from error


def choose_role(workspace: Workspace, given: str, progress: Progress) -> str:
    """The stored role of that name, or else `given` itself; a single word that names none is told, it may be a slip."""
    if is_name(given) and _path(workspace, given).exists():
        return find_role(workspace, given)
    if given.isascii() and len(given.split()) == 1:  # other scripts write sentences without a blank
        progress.say(f"there is no stored role {line(given)!r}; the word itself is taken as the role.")
    return given


def list_roles(workspace: Workspace) -> dict[str, str]:
    """The text of each stored role, by name."""
    return {name: find_role(workspace, name) for name in _names(workspace)}


def remove_role(workspace: Workspace, name: str) -> None:
    """Remove a stored role; raises Refusal if there is none of that name."""
    find_role(workspace, name)
    _path(workspace, name).unlink()


def is_name(text: str) -> bool:
    """Whether a role could be stored under this name."""
    return _NAME.fullmatch(text) is not None


def _path(workspace: Workspace, name: str) -> Path:
    if not is_name(name):
        raise Refusal(
            f"{name[:80]!r} cannot be the name of a role; use up to 64 small letters, digits, '-' and '_', "
            "beginning with a letter or digit."
        )
    return workspace.root / "roles" / f"{name}.txt"


def _names(workspace: Workspace) -> list[str]:
    return sorted(path.stem for path in (workspace.root / "roles").glob("*.txt") if is_name(path.stem))
