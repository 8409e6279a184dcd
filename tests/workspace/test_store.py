"""The workspace: made once, whole or not at all, also by two processes at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.errors import Refusal
from carrara.workspace import Artefact, Draft, Workspace, artefact_id, digest_of_value, store, write_atomically
from carrara.workspace.files import read_json_lines
from carrara.workspace.index import MIGRATIONS, Index

CONTEXT = multiprocessing.get_context("spawn")


def _write(draft: Draft) -> None:
    (draft.path / "file.txt").write_text("content")
    draft.summary["size"] = 7


def test_an_artefact_is_made_once_and_found_again(workspace: Workspace) -> None:
    first = workspace.make("run", {"a": 1}, _write, name="one")
    again = workspace.make("run", {"a": 1}, lambda draft: pytest.fail("made twice"), name="one")
    assert again == first
    assert (first.path / "file.txt").read_text() == "content"
    assert workspace.get(f"run/{first.id[:6]}") == first
    assert workspace.list("run") == [first]


def test_lineage_runs_both_ways(workspace: Workspace) -> None:
    data = workspace.make("dataset", {"rows": 1}, _write, name="data")
    run = workspace.make("run", {"data": data.id}, _write, name="run", inputs={"dataset": data})
    assert workspace.get(run.inputs["dataset"]) == data
    assert workspace.index.children(data.reference) == [run.reference]


def test_a_failed_build_leaves_nothing_that_is_believed(workspace: Workspace) -> None:
    def fails(draft: Draft) -> None:
        _write(draft)
        raise Refusal("no")

    with pytest.raises(Refusal, match="no"):
        workspace.make("run", {"a": 1}, fails, name="one")
    assert workspace.list("run") == []

    def looks(draft: Draft) -> None:
        assert list(draft.path.iterdir()) == []  # what the failed build left is gone
        _write(draft)

    workspace.make("run", {"a": 1}, looks, name="one")


def test_a_resumable_build_finds_what_was_left(workspace: Workspace) -> None:
    def stops(draft: Draft) -> None:
        _write(draft)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workspace.make("run", {"a": 1}, stops, name="one", resumable=True)
    found: list[str] = []
    workspace.make(
        "run", {"a": 1}, lambda d: found.extend(p.name for p in d.path.iterdir()), name="one", resumable=True
    )
    assert found == ["file.txt"]


def test_scratch_stays_until_the_artefact_stands_and_is_no_part_of_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    builds: list[bool] = []

    def build(draft: Draft) -> None:
        builds.append((draft.path / "scratch" / "half").is_file())
        (draft.path / "scratch").mkdir(exist_ok=True)
        (draft.path / "scratch" / "half").touch()
        _write(draft)

    def make() -> Artefact:
        return workspace.make("run", {"a": 1}, build, name="one", resumable=True, scratch=("scratch",))

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for step in ("digest_of_file", "write_atomically"):
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(store, step, killed)
            make()
    made = make()
    assert builds == [False, True, True]
    assert list(made.files) == ["file.txt"]
    assert sorted(path.name for path in made.path.iterdir()) == ["artefact.json", "file.txt"]


def test_the_index_is_rebuilt_from_the_folders(workspace: Workspace) -> None:
    made = workspace.make("run", {"a": 1}, _write, name="one")
    for path in workspace.root.glob("index.sqlite*"):
        path.unlink()
    reopened = Workspace(workspace.root)
    assert reopened.list("run") == [made]
    assert reopened.get(made.reference) == made


def test_damage_is_named(workspace: Workspace) -> None:
    made = workspace.make("run", {"a": 1}, _write, name="one")
    (made.path / "file.txt").unlink()
    with pytest.raises(Refusal, match=r"has lost file\.txt"):
        workspace.find("run", made.id)
    (made.path / "artefact.json").write_text("{")
    with pytest.raises(Refusal, match="no readable artefact"):
        workspace.find("run", made.id)
    with pytest.raises(Refusal, match="is no artefact"):
        workspace.get("run/ffff")


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refusal, match="cannot be written"):
        Workspace(tmp_path / "file" / "workspace")


def test_a_newer_index_is_refused(workspace: Workspace) -> None:
    import sqlite3

    with sqlite3.connect(workspace.root / "index.sqlite") as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(Refusal, match="newer Carrara"):
        Workspace(workspace.root)


def test_every_old_index_migrates(tmp_path: Path) -> None:
    import sqlite3

    for version in range(len(MIGRATIONS)):
        path = tmp_path / f"{version}.sqlite"
        with sqlite3.connect(path) as connection:
            for step in MIGRATIONS[:version]:
                connection.executescript(step)
            connection.execute(f"PRAGMA user_version = {version}")
        index = Index(path)
        index.set_alias("a", "model/1")
        assert index.alias("a") == "model/1"


def _make_slowly(root: Path, log: Path) -> None:
    def build(draft: Draft) -> None:
        with log.open("a") as file:
            file.write(f'{{"pid": {os.getpid()}}}\n')
        time.sleep(0.5)
        _write(draft)

    Workspace(root).make("run", {"a": 1}, build, name="one")


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    processes = [CONTEXT.Process(target=_make_slowly, args=(tmp_path / "w", tmp_path / "log")) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(read_json_lines(tmp_path / "log")) == 1


def _hang(root: Path, ready: Any) -> None:
    def build(draft: Draft) -> None:
        (draft.path / "half").write_text("half")
        ready.set()
        time.sleep(60)

    Workspace(root).make("run", {"a": 1}, build, name="one")


def test_a_killed_process_holds_no_lock_and_leaves_no_artefact(tmp_path: Path) -> None:
    ready = CONTEXT.Event()
    process = CONTEXT.Process(target=_hang, args=(tmp_path / "w", ready))
    process.start()
    assert ready.wait(60)
    workspace = Workspace(tmp_path / "w")
    other = workspace.make("run", {"b": 2}, _write, name="other")  # another artefact does not wait
    assert other.summary["size"] == 7
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(60)
    assert [a.name for a in workspace.list("run")] == ["other"]
    made = workspace.make("run", {"a": 1}, _write, name="one")
    assert set(made.files) == {"file.txt"}


def test_a_digest_is_remembered_until_the_file_changes(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    first = workspace.digest(path)
    assert workspace.digest(path) == first
    path.write_text("other")
    assert workspace.digest(path) != first


def test_writing_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "one")
    write_atomically(path, b"two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"n": 1}\n{"n": 2, "torn')
    assert read_json_lines(path) == [{"n": 1}]
    assert path.read_text() == '{"n": 1}\n'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_names_depend_on_content_and_not_on_order(made_by: dict[str, Any]) -> None:
    backwards = dict(reversed(list(made_by.items())))
    assert artefact_id("run", made_by) == artefact_id("run", backwards) != artefact_id("scores", made_by)
    if all(c < "\ud800" or c > "\udfff" for c in json.dumps(made_by, ensure_ascii=False)):
        assert len(digest_of_value(made_by)) == 64


def test_an_adopted_record_writes_nothing_outside(workspace: Workspace, tmp_path: Path) -> None:
    made = workspace.make("dataset", {"a": 1}, _write, name="one")
    foreign = tmp_path / "elsewhere" / "deep"
    shutil.copytree(made.path, foreign)
    record = json.loads((foreign / "artefact.json").read_text())
    (foreign.parent / "escaped").write_text("content")
    record["files"]["../escaped"] = record["files"]["file.txt"]
    (foreign / "artefact.json").write_text(json.dumps(record))
    with pytest.raises(Refusal, match="not inside it"):
        workspace.adopt(foreign)


def test_an_adopted_record_does_not_take_another_ones_place(workspace: Workspace, tmp_path: Path) -> None:
    made = workspace.make("dataset", {"a": 1}, _write, name="one")
    foreign = tmp_path / "elsewhere"
    shutil.copytree(made.path, foreign)
    adopted = workspace.adopt(foreign)
    assert (adopted.id == made.id, adopted.digest == made.digest) == (False, True)
    assert workspace.adopt(made.path) == made
    (foreign / "file.txt").write_text("changed")
    with pytest.raises(Refusal, match="was changed"):
        workspace.adopt(foreign)
