"""Conversations kept on this machine: one row a message, and all rows of a person erasable for good."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.workspace import Workspace
from carrara.workspace.files import alone

_VERSION = 1
_SCHEMA = """
CREATE TABLE message (
    conversation TEXT NOT NULL, place INTEGER NOT NULL, person TEXT NOT NULL, role TEXT NOT NULL, text TEXT NOT NULL,
    model TEXT NOT NULL, time TEXT NOT NULL, tokens INTEGER, PRIMARY KEY (conversation, place)
);
CREATE INDEX message_person ON message (person);
"""


@dataclass(frozen=True)
class Kept:
    """A message as it is kept. `time` is UTC; `tokens` those of an answer, None for what the model did not write."""

    conversation: str
    place: int
    person: str
    role: str
    text: str
    model: str
    time: str
    tokens: int | None


@dataclass(frozen=True)
class Entry:
    """A conversation in a listing: when its last message came, and how many there are."""

    conversation: str
    person: str
    model: str
    time: str
    messages: int


class Journal:
    """One SQLite file in WAL mode that only its owner may read; each method has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # SQLite gives its other files the same mode
        with alone(path.with_suffix(".lock")), self._connect() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise Refusal(f"{path} was written by a newer Carrara (version {version}); upgrade Carrara.")
            if not version:
                connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")

    def keep(
        self, conversation: str, person: str, model: str, messages: Sequence[Message], tokens: int | None = None
    ) -> None:
        """Make the rows of a conversation say `messages`, the last of them an answer of so many tokens.

        Rows from the first message that differs are replaced, so an answer drawn anew or taken back is not kept.
        Raises Refusal for the conversation of another person.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            query = "SELECT role, text, person FROM message WHERE conversation = ? ORDER BY place"
            found = connection.execute(query, (conversation,)).fetchall()
            if any(row[2] != person for row in found):
                raise Refusal(f"the conversation '{conversation}' is not of '{person}'; begin one of your own.")
            stand = [row[:2] for row in found]
            pairs = [(message.role, message.content) for message in messages]
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(stand, pairs)))
            connection.execute("DELETE FROM message WHERE conversation = ? AND place >= ?", (conversation, same))
            rows = [
                (conversation, place, person, role, text, model, now, tokens if place == len(pairs) - 1 else None)
                for place, (role, text) in enumerate(pairs)
            ]
            connection.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows[same:])

    def conversations(self) -> list[Entry]:
        """All conversations, the newest first."""
        query = (
            "SELECT conversation, person, model, max(time), count(*) FROM message "  # the model of the last message
            "GROUP BY conversation ORDER BY max(time) DESC, conversation"
        )
        with self._connect() as connection:
            return [Entry(*row) for row in connection.execute(query)]

    def messages(self, conversation: str) -> list[Kept]:
        """The messages of a conversation in order; raises Refusal if there is none of that name."""
        with self._connect() as connection:
            query = "SELECT * FROM message WHERE conversation = ? ORDER BY place"
            found = [Kept(*row) for row in connection.execute(query, (conversation,))]
        if not found:
            raise Refusal(f"there is no conversation '{conversation}'; `carrara conversations list` shows them.")
        return found

    def erase(self, person: str) -> int:
        """Remove all rows of a person from the file, not only from sight; returns how many.

        Raises Refusal if there are none, or if another process held the file open, so that something may be left.
        """
        with self._connect() as connection:
            erased = connection.execute("DELETE FROM message WHERE person = ?", (person,)).rowcount
        with self._connect() as connection:
            connection.execute("VACUUM")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise Refusal(f"{self._path} is being read, so what was erased may still be in it; erase once more.")
        if not erased:
            raise Refusal(f"no conversations of '{person}' are kept; `carrara conversations list` shows whose are.")
        return erased

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            connection.execute("PRAGMA secure_delete = ON")
            with connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise Refusal(
                f"the conversations in {self._path} cannot be used ({error}); if the disk is full, make room; "
                "if the file is damaged, move it away."
            ) from error
        finally:
            if connection is not None:
                connection.close()


def open_journal(workspace: Workspace) -> Journal:
    """The conversations of a workspace."""
    return Journal(workspace.root / "conversations.sqlite")
