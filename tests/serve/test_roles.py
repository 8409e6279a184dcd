"""Stored roles: found by name, kept as they were said, and never outside their folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.serve.roles import LONGEST, add_role, choose_role, find_role, is_name, list_roles, remove_role
from carrara.workspace import Workspace


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("roles") / "workspace")


class Told(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_a_role_is_stored_found_listed_and_removed(workspace: Workspace) -> None:
    add_role(workspace, "teacher", "  You are a patient teacher.\nYou say “why”.\n")
    add_role(workspace, "a-poet_2", "You rhyme.")
    assert find_role(workspace, "teacher") == "You are a patient teacher.\nYou say “why”."
    assert list_roles(workspace) == {"a-poet_2": "You rhyme.", "teacher": find_role(workspace, "teacher")}
    assert (workspace.root / "roles" / "a-poet_2.txt").read_text() == "You rhyme.\n"
    remove_role(workspace, "teacher")
    with pytest.raises(Refusal, match=r"no role 'teacher' \(stored: a-poet_2\)"):
        find_role(workspace, "teacher")
    with pytest.raises(Refusal, match="no role 'teacher'"):
        remove_role(workspace, "teacher")


def test_a_taken_name_is_refused_and_the_role_stays(workspace: Workspace) -> None:
    add_role(workspace, "poet", "You rhyme.")
    add_role(workspace, "poet", "You rhyme.")  # the same again changes nothing
    with pytest.raises(Refusal, match="`carrara roles remove poet`"):
        add_role(workspace, "poet", "You do not.")
    assert find_role(workspace, "poet") == "You rhyme."


@pytest.mark.parametrize(
    ("text", "sentence"), [(" \n", "no text"), ("a" * (LONGEST + 1), "100,001 characters"), ("\udcff", "no UTF-8")]
)
def test_a_text_that_cannot_be_a_role_is_refused(workspace: Workspace, text: str, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        add_role(workspace, "poet", text)
    assert list_roles(workspace) == {}


def test_a_damaged_file_is_named(workspace: Workspace) -> None:
    add_role(workspace, "poet", "You rhyme.")
    path = workspace.root / "roles" / "poet.txt"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Refusal, match=f"{path} is no UTF-8 text"):
        find_role(workspace, "poet")


def test_a_name_or_the_words_themselves(workspace: Workspace) -> None:
    add_role(workspace, "poet", "You rhyme.")
    told = Told()
    assert choose_role(workspace, "poet", told) == "You rhyme."
    assert choose_role(workspace, "a patient teacher", told) == "a patient teacher"
    assert told.sentences == []
    assert choose_role(workspace, "pote", told) == "pote"
    for slip in ("Poet", "../../poet"):
        assert choose_role(workspace, slip, told) == slip
    assert told.sentences == [
        f"there is no stored role '{slip}'; the word itself is taken as the role."
        for slip in ("pote", "Poet", "../../poet")
    ]


WICKED = ["..", ".", "", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b", "%2e%2e", "con.txt", "Poet", "ä", "a\n", "-x"]


@given(st.one_of(st.sampled_from(WICKED), st.text(max_size=80), st.from_regex(r"[a-z./\\~%-]{1,12}", fullmatch=True)))
def test_no_name_leads_out_of_the_folder(lasting: Workspace, name: str) -> None:
    workspace = lasting
    before = _files(workspace.root.parent)
    if is_name(name):
        add_role(workspace, name, "You rhyme.")
        assert _files(workspace.root.parent) - before == {workspace.root / "roles" / f"{name}.txt"}
        remove_role(workspace, name)
    else:
        for use in (lambda: add_role(workspace, name, "x"), lambda: find_role(workspace, name)):
            with pytest.raises(Refusal, match="cannot be the name of a role"):
                use()
        assert choose_role(workspace, name, Silent()) == name
    assert _files(workspace.root.parent) == before


@pytest.mark.parametrize("name", WICKED)
def test_wicked_names_are_none(name: str) -> None:
    assert not is_name(name)


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}
