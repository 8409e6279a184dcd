"""`carrara roles`, `carrara audit`: what they print, how they exit, what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import call


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


def test_add_list_show_and_remove(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "poet.txt").write_text("You rhyme.\nAlways.\n", encoding="utf-8")
    assert call(workspace, "roles", "add", "poet", "--file", "poet.txt").code == 0
    assert call(workspace, "roles", "add", "teacher", "You explain\x1b[2J.").code == 0
    told = call(workspace, "roles", "list", "--json").json
    assert [role["name"] for role in told["roles"]] == ["poet", "teacher"]
    assert call(workspace, "roles", "show", "poet").out == "You rhyme.\nAlways.\n"
    for words in (call(workspace, "roles", "list"), call(workspace, "roles", "show", "teacher")):
        assert "You explain" in words.out
        assert "\x1b" not in words.out
    assert call(workspace, "roles", "remove", "poet").code == 0
    assert [role["name"] for role in call(workspace, "roles", "list", "--json").json["roles"]] == ["teacher"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["add", "poet"], "a role is said by TEXT or by --file, one of the two"),
        (["add", "poet", "x", "--file", "y"], "a role is said by TEXT or by --file, one of the two"),
        (["add", "poet", "--file", "missing.txt"], "missing.txt cannot be read"),
        (["add", "poet", "--file", "."], "cannot be read"),
        (["add", "poet", "--file", "latin.txt"], "latin.txt is no UTF-8 text (byte 1)"),
        (["add", "../poet", "x"], "'../poet' cannot be the name of a role"),
        (["show", "../../etc/passwd"], "cannot be the name of a role"),
        (["remove", "nobody"], "there is no role 'nobody' (stored: none yet)"),
    ],
)
def test_what_cannot_be_is_refused(workspace: Path, arguments: list[str], sentence: str) -> None:
    (workspace.parent / "latin.txt").write_bytes(b"a\xe4")
    result = call(workspace, "roles", *arguments)
    assert result.code == 2
    assert sentence in result.sentence
