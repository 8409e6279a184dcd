"""Kept conversations: a row a message, what was taken back is gone, and erasing leaves no byte behind."""

from __future__ import annotations

import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.serve.journal import Journal, open_journal
from carrara.workspace import Workspace

ASKED = Message("user", "where is marble found?")
ANSWERED = Message("assistant", "in Carrara")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "conversations.sqlite")


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def texts(journal: Journal, conversation: str) -> list[str]:
    return [kept.text for kept in journal.messages(conversation)]


def test_each_message_is_a_row(journal: Journal, tmp_path: Path) -> None:
    journal.keep("c", "anna", "run/1", [ASKED, ANSWERED], 4)
    first = journal.messages("c")
    assert [(kept.place, kept.role, kept.text, kept.tokens) for kept in first] == [
        (0, "user", "where is marble found?", None),
        (1, "assistant", "in Carrara", 4),
    ]
    journal.keep("c", "anna", "run/2", [ASKED, ANSWERED, ASKED, ANSWERED], 5)
    later = journal.messages("c")
    assert later[:2] == first
    assert [(kept.model, kept.tokens) for kept in later[2:]] == [("run/2", None), ("run/2", 5)]
    with sqlite3.connect(tmp_path / "conversations.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (4,)


def test_an_answer_drawn_anew_or_taken_back_is_not_kept(journal: Journal) -> None:
    journal.keep("c", "anna", "m", [ASKED, Message("assistant", "on the moon")], 3)
    journal.keep("c", "anna", "m", [ASKED, ANSWERED], 4)
    assert texts(journal, "c") == [ASKED.content, ANSWERED.content]
    journal.keep("c", "anna", "m", [ASKED])
    assert texts(journal, "c") == [ASKED.content]


def test_conversations_are_listed_newest_first(journal: Journal) -> None:
    journal.keep("old", "anna", "m", [ASKED, ANSWERED])
    journal.keep("new", "otto", "m", [ASKED])
    assert [(entry.conversation, entry.person, entry.messages) for entry in journal.conversations()] == [
        ("new", "otto", 1),
        ("old", "anna", 2),
    ]
    with pytest.raises(Refusal, match="no conversation 'other'"):
        journal.messages("other")


def test_nobody_writes_into_the_conversation_of_another(journal: Journal) -> None:
    journal.keep("c", "anna", "m", [ASKED, ANSWERED])
    with pytest.raises(Refusal, match="'c' is not of 'otto'"):
        journal.keep("c", "otto", "m", [ASKED])
    assert texts(journal, "c") == [ASKED.content, ANSWERED.content]


def test_erasing_leaves_no_byte_of_it(journal: Journal, tmp_path: Path) -> None:
    secret = "the vault opens at midnight"
    for number in range(30):
        journal.keep(f"a{number}", "anna", "m", [Message("user", f"{secret} {number} " + "x" * 3000), ANSWERED], 4)
        journal.keep(f"o{number}", "otto", "m", [ASKED, ANSWERED], 4)
    before = bytes_of(tmp_path)
    assert secret.encode() in before
    assert journal.erase("anna") == 60
    left = bytes_of(tmp_path)
    assert len(left) < len(before) / 4
    for trace in (secret.encode(), b"anna", b"xxxx"):
        assert trace not in left
    assert {entry.person for entry in journal.conversations()} == {"otto"}
    assert len(journal.conversations()) == 30
    with pytest.raises(Refusal, match="no conversations of 'anna'"):
        journal.erase("anna")


def test_what_is_taken_back_leaves_no_byte_once_the_file_is_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "conversations.sqlite")
    journal.keep("c", "anna", "m", [Message("user", "never mind this"), ANSWERED])
    journal.keep("c", "anna", "m", [])
    assert b"never mind" not in bytes_of(tmp_path)


def test_erasing_beside_a_reader_is_told(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.keep("c", "anna", "m", [Message("user", "a secret"), ANSWERED])
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **settings: connect(path, **{**settings, "timeout": 0.1}))
    with connect(tmp_path / "conversations.sqlite") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM message").fetchall()
        with pytest.raises(Refusal, match="erase once more"):
            journal.erase("anna")
    reader.close()
    with pytest.raises(Refusal, match="no conversations of 'anna'"):
        journal.erase("anna")
    assert b"a secret" not in bytes_of(tmp_path)


def test_only_the_owner_may_read_it(workspace: Workspace) -> None:
    journal = open_journal(workspace)
    with journal._connect() as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO message VALUES ('c', 0, 'anna', 'user', 'x', 'm', 't', NULL)")
        found = list(workspace.root.glob("conversations.sqlite*"))
        assert len(found) == 3
        assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_many_write_at_once(journal: Journal) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: journal.keep(f"c{n}", "anna", "m", [ASKED, ANSWERED], n), range(40)))
    assert sum(entry.messages for entry in journal.conversations()) == 80


def test_a_damaged_or_newer_file_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"no database " * 100)
    with pytest.raises(Refusal, match="cannot be used"):
        Journal(damaged)
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 9")
    with pytest.raises(Refusal, match="a newer Carrara"):
        Journal(newer)
