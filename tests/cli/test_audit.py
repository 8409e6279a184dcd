"""`carrara audit`: a log that holds, and one that does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from carrara.serve.audit import AuditLog, audit_path
from carrara.workspace import Workspace
from tests.cli.calling import call
from tests.serve.test_audit import ONE


@pytest.fixture
def log(workspace: Workspace) -> Path:
    path = audit_path(workspace)
    audit = AuditLog(path, {"run/1": "ab12"})
    for who in ("anna", "otto\x1b[2J", "anna"):
        audit.append(replace(ONE, who=who))
    return path


def test_a_whole_log_holds(workspace: Workspace, log: Path) -> None:
    told = call(workspace.root, "audit", "verify", "--json").json
    assert (told["holds"], told["lines"], told["fault"]) == (True, 3, None)
    last = json.loads(log.read_text().splitlines()[-1])
    assert told["head"] == last["hash"]
    assert call(workspace.root, "audit", "verify").out == f"all 3 lines hold; the last hash is {last['hash']}\n"


def test_an_unfinished_line_is_told(workspace: Workspace, log: Path) -> None:
    with log.open("ab") as file:
        file.write(b'{"number":4')
    assert "11 bytes of an unfinished line stand at the end" in call(workspace.root, "audit", "verify").out


def test_a_changed_log_does_not(workspace: Workspace, log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b"otto", b"emma"))
    result = call(workspace.root, "audit", "verify")
    assert (result.code, result.out) == (1, "")
    assert "line 2 was changed: it does not give its own hash; lines before it that hold: 1." in result.sentence
    told = call(workspace.root, "audit", "verify", "--json")
    assert told.code == 1
    assert (json.loads(told.out)["holds"], json.loads(told.out)["fault"]) == (False, "changed")


def test_the_last_lines_are_shown(workspace: Workspace, log: Path) -> None:
    lines = call(workspace.root, "audit", "show", "--last", "2", "--json").json["lines"]
    assert [(line["number"], line["digest"]) for line in lines] == [(2, "ab12"), (3, "ab12")]
    shown = call(workspace.root, "audit", "show", "--last", "2").out
    assert len(shown.splitlines()) == 3
    assert "\x1b" not in shown
    log.write_bytes(b"[\xff\n[1]\n" + log.read_bytes())
    assert len(call(workspace.root, "audit", "show", "--json").json["lines"]) == 3


def test_without_a_log_there_is_nothing_to_verify(workspace: Workspace) -> None:
    for verb in ("verify", "show"):
        result = call(workspace.root, "audit", verb)
        assert result.code == 2
        assert "there is no audit log at" in result.sentence
