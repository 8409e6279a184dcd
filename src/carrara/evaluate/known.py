"""What forward passes gave, kept in the workspace, so that no pass is run twice and a killed evaluation goes on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from carrara.errors import Refusal

Found = Sequence[tuple[Sequence[float], float]]  # for each row the log-likelihoods of its answers, and its seconds


class Known:
    """One SQLite file, by the name of a pass; several processes may use it at once. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last passes, no more
            self._connection.execute("CREATE TABLE IF NOT EXISTS pass (name TEXT PRIMARY KEY, found TEXT NOT NULL)")
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error

    def get(self, name: str) -> Found | None:
        """What the pass of that name gave, or None."""
        try:
            row = self._connection.execute("SELECT found FROM pass WHERE name = ?", (name,)).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error
        return json.loads(row[0]) if row else None

    def put(self, name: str, found: Found) -> None:
        """Keep what a pass gave."""
        try:
            self._connection.execute("INSERT OR REPLACE INTO pass VALUES (?, ?)", (name, json.dumps(found)))
        except sqlite3.DatabaseError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: sqlite3.DatabaseError) -> Refusal:
        return Refusal(
            f"{self._path}, which keeps what was scored, cannot be used ({error}); if the disk is full, make room; "
            "if it is damaged, remove it: it is only there to save time."
        )

    def __enter__(self) -> Known:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()
