"""The audit log: every change to it is found, nothing private is in it unasked, and a killed process harms nothing."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.errors import Refusal
from carrara.serve.answered import Answered
from carrara.serve.audit import AuditLog, Verified, audit_path, last_lines, verify
from carrara.workspace import Workspace

ONE = Answered("r1", "anna", "/v1/chat/completions", "run/1", 200, "stop", 7, 3, 0.25, "my secret", "your “secret”\n")
DIGESTS = {"run/1": "ab12"}
LINES = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "log.jsonl"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of some lines, to be copied and never touched."""
    return write(tmp_path_factory.mktemp("written") / "audit" / "log.jsonl", LINES)


def write(path: Path, count: int) -> Path:
    log = AuditLog(path, DIGESTS)
    for number in range(count):
        log.append(replace(ONE, request=f"r{number}", offered="a secret tool"))
    return path


def copied(written: Path) -> Path:
    shutil.copytree(written.parent, target := written.parent.with_name("copy"), dirs_exist_ok=True)
    return target / written.name


def test_a_line_holds_what_was_asked_for_and_no_contents(path: Path) -> None:
    write(path, 2)
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["number"], second["number"], second["before"]) == (1, 2, first["hash"])
    told = ("request", "who", "model", "digest", "status", "reason", "prompt_tokens", "completion_tokens", "seconds")
    assert [first[key] for key in told] == ["r0", "anna", "run/1", "ab12", 200, "stop", 7, 3, 0.25]
    assert first["time"].endswith("+00:00")
    assert "secret" not in path.read_text()
    assert last_lines(path, 1) == [second]


def test_a_line_says_which_engine_answered_in_which_numbers(path: Path) -> None:
    AuditLog(path, DIGESTS).append(replace(ONE, engine="llamacpp q8_0", role="poet"))
    write(path, 1)
    first, second = last_lines(path, 2)
    assert (first["engine"], second["engine"]) == ("llamacpp q8_0", "")
    assert (first["role"], second["role"]) == ("poet", "")
    assert verify(path).fault is None


def test_contents_are_kept_where_they_are_switched_on(path: Path) -> None:
    log = AuditLog(path, DIGESTS, contents=True)
    log.append(replace(ONE, offered="my tools"))
    (entry,) = last_lines(path, 5)
    assert (entry["asked"], entry["offered"], entry["said"]) == ("my secret", "my tools", "your “secret”\n")
    assert verify(path).fault is None


def test_only_the_owner_may_read_it(path: Path) -> None:
    write(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_whole_log_holds_and_so_does_a_new_one(path: Path, workspace: Workspace) -> None:
    AuditLog(path, {})
    assert verify(path) == Verified(0, "0" * 64, None, "all 0 lines hold", 0)
    write(path, 3)
    found = verify(path)
    assert (found.lines, found.fault, found.head) == (3, None, last_lines(path, 1)[0]["hash"])
    with pytest.raises(Refusal, match="there is no audit log at"):
        verify(audit_path(workspace))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_changed_byte_is_found(written: Path, data: st.DataObject) -> None:
    path = copied(written)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place]))
    line = written.read_bytes()[:place].count(b"\n") + 1
    path.write_bytes(content)
    found = verify(path)
    assert found.fault == "changed"
    assert found.lines == line - 1
    assert f"line {line} " in found.sentence


@settings(deadline=None)
@given(st.integers(1, LINES - 1))
def test_a_removed_line_is_found(written: Path, removed: int) -> None:
    path = copied(written)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: removed - 1] + lines[removed:]))
    found = verify(path)
    assert (found.fault, found.lines) == ("removed", removed - 1)
    assert found.sentence == f"line {removed} was removed: line {removed + 1} stands in its place"


@settings(deadline=None)
@given(st.permutations(range(LINES)).filter(lambda order: list(order) != list(range(LINES))))
def test_another_order_is_found(written: Path, order: list[int]) -> None:
    path = copied(written)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[place] for place in order))
    found = verify(path)
    first = next(place for place, line in enumerate(order) if place != line)
    assert (found.fault, found.lines) == ("reordered", first)


@settings(deadline=None)
@given(st.integers(0, LINES - 1))
def test_a_cut_end_is_found(written: Path, kept: int) -> None:
    path = copied(written)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:kept]))
    found = verify(path)
    assert (found.fault, found.lines) == ("cut", kept)
    assert found.sentence == f"lines {kept + 1} to {LINES} were cut off the end"
    write(path, 1)  # a new line does not cover it up
    found = verify(path)
    assert (found.fault, found.lines) == ("removed", kept)


@settings(deadline=None)
@given(st.integers(1, 2000))
def test_bytes_cut_off_the_end_are_found_also_later(written: Path, cut: int) -> None:
    path = copied(written)
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    assert verify(path).fault in ("changed", "cut")
    write(path, 1)
    assert verify(path).fault in ("changed", "removed")


def test_a_line_written_anew_with_its_own_hash_is_found(path: Path) -> None:
    from carrara.serve.audit import _seal

    write(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    sealed = lines[1][: lines[1].rindex(b',"hash"')].replace(b"anna", b"otto")
    path.write_bytes(b"".join([lines[0], sealed + _seal(sealed), lines[2]]))
    assert verify(path).sentence == ("line 3 does not follow from the line before: one of the two was written anew")
    path.write_bytes(b"".join([*lines[:2], lines[2].replace(lines[2], sealed + _seal(sealed))]))
    assert verify(path).fault == "reordered"


@pytest.mark.parametrize("head", [None, "", "{}", '{"number":1}', '{"number":-1,"hash":"","size":0}', "[1]"])
def test_a_lost_head_is_found_and_told_in_the_log(path: Path, head: str | None) -> None:
    write(path, 3)
    beside = path.with_suffix(".head.json")
    beside.unlink() if head is None else beside.write_text(head)
    assert verify(path).fault == "headless"
    write(path, 1)
    assert [entry["reason"] for entry in last_lines(path, 2)] == [
        "the head of the log was missing and is made anew",
        "stop",
    ]
    assert (verify(path).lines, verify(path).fault) == (5, None)


def test_a_log_changed_at_its_head_alone_is_found(path: Path) -> None:
    write(path, 3)
    beside = path.with_suffix(".head.json")
    head = json.loads(beside.read_text())
    beside.write_text(json.dumps(head | {"number": 2}))
    assert verify(path).sentence == "line 2 is not the one that the head names"


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_line_torn_by_a_kill_is_cut_off_and_told(written: Path, data: st.DataObject) -> None:
    path = copied(written)
    line = path.read_bytes().splitlines(keepends=True)[-1]
    torn = line[: data.draw(st.integers(1, len(line) - 1))]
    with path.open("ab") as file:
        file.write(torn)
    found = verify(path)
    assert (found.lines, found.fault, found.torn) == (LINES, None, len(torn))
    write(path, 1)
    told = last_lines(path, 2)
    assert told[0]["reason"] == f"cut off {len(torn)} bytes of a line that a process did not finish"
    assert [entry["number"] for entry in told] == [LINES + 1, LINES + 2]
    assert (verify(path).lines, verify(path).fault) == (LINES + 2, None)


def test_a_process_killed_before_the_head_loses_nothing(path: Path) -> None:
    write(path, 2)
    beside = path.with_suffix(".head.json")
    before = beside.read_text()
    write(path, 2)
    beside.write_text(before)
    assert (verify(path).lines, verify(path).fault) == (4, None)
    write(path, 1)
    assert (verify(path).lines, verify(path).fault) == (5, None)


def test_threads_and_processes_write_one_chain(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.serve.test_audit import write\nwrite(Path(sys.argv[1]), 20)"
    )
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", code, str(path)]
    others = [subprocess.Popen(command, env=environment) for _ in range(2)]
    log = AuditLog(path, DIGESTS)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: log.append(ONE), range(40)))
    assert [other.wait(60) for other in others] == [0, 0]
    assert (verify(path).lines, verify(path).fault) == (80, None)


def test_processes_killed_while_they_write_leave_a_chain(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.serve.test_audit import write\n"
        "print(flush=True); write(Path(sys.argv[1]), 10**6)"
    )
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(path)], env=environment, stdout=subprocess.PIPE
        ) as other:
            assert other.stdout is not None
            other.stdout.read(1)
            before = path.stat().st_size if path.exists() else 0
            end = time.monotonic() + 30
            while not path.exists() or path.stat().st_size < before + 2000:
                assert time.monotonic() < end
                time.sleep(0.001)
            other.kill()
        assert verify(path).fault is None
    write(path, 1)
    found = verify(path)
    assert found.fault is None
    assert found.lines > 6
