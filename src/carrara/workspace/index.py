"""The SQLite index over artefacts: names, aliases and lineage. It can always be rebuilt from the folders."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carrara.errors import Refusal
from carrara.workspace.artefact import Artefact
from carrara.workspace.files import alone

# Each entry takes the database from version i to i + 1; entries are never changed, only added.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE artefact (
        kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, created TEXT NOT NULL, summary TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    );
    CREATE TABLE lineage (
        child TEXT NOT NULL, role TEXT NOT NULL, parent TEXT NOT NULL, PRIMARY KEY (child, role)
    );
    CREATE INDEX lineage_parent ON lineage (parent);
    CREATE TABLE alias (name TEXT PRIMARY KEY, artefact TEXT NOT NULL);
    """,
    """
    CREATE TABLE file_digest (
        path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL
    );
    """,
)


class Index:
    """One SQLite file in WAL mode; every method opens, commits and closes its own connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # SQLite does not wait for others when it changes the journal's mode, so the openers take turns.
        with alone(path.with_suffix(".lock")), self._connect() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            self._migrate(connection)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self._path, timeout=30)
            with connection:
                yield connection
        except sqlite3.DatabaseError as error:
            raise Refusal(
                f"the index {self._path} cannot be used ({error}); if the disk is full, make room; "
                "if it is damaged, remove it: it is rebuilt from the artefacts."
            ) from error
        finally:
            if connection is not None:
                connection.close()

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS):
            return
        connection.execute("BEGIN IMMEDIATE")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(MIGRATIONS):
            raise Refusal(f"{self._path} was written by a newer Carrara (index version {version}); upgrade Carrara.")
        for step in MIGRATIONS[version:]:
            for statement in step.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def add(self, artefact: Artefact) -> None:
        with self._connect() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO artefact VALUES (?, ?, ?, ?, ?)",
                (artefact.kind, artefact.id, artefact.name, artefact.created, json.dumps(dict(artefact.summary))),
            )
            connection.executemany(
                "INSERT OR REPLACE INTO lineage VALUES (?, ?, ?)",
                [(artefact.reference, role, parent) for role, parent in artefact.inputs.items()],
            )

    def knows(self, reference: str) -> bool:
        """Whether the artefact `kind/id` is entered."""
        with self._connect() as connection:
            row = connection.execute("SELECT 1 FROM artefact WHERE kind || '/' || id = ?", (reference,)).fetchone()
        return row is not None

    def children(self, reference: str) -> list[str]:
        """The artefacts made from this one."""
        with self._connect() as connection:
            rows = connection.execute("SELECT DISTINCT child FROM lineage WHERE parent = ?", (reference,)).fetchall()
        return [row[0] for row in rows]

    def set_alias(self, name: str, reference: str) -> None:
        with self._connect() as connection:
            connection.execute("INSERT OR REPLACE INTO alias VALUES (?, ?)", (name, reference))

    def alias(self, name: str) -> str | None:
        with self._connect() as connection:
            row = connection.execute("SELECT artefact FROM alias WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def known_digest(self, path: str, size: int, mtime_ns: int) -> str | None:
        with self._connect() as connection:
            row = connection.execute(
                "SELECT sha256 FROM file_digest WHERE path = ? AND size = ? AND mtime_ns = ?", (path, size, mtime_ns)
            ).fetchone()
        return row[0] if row else None

    def remember_digest(self, path: str, size: int, mtime_ns: int, sha256: str) -> None:
        with self._connect() as connection:
            connection.execute("INSERT OR REPLACE INTO file_digest VALUES (?, ?, ?, ?)", (path, size, mtime_ns, sha256))
