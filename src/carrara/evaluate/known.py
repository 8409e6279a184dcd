"""What forward passes gave, kept in the workspace, so that no pass is run twice and a killed evaluation goes on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from carrara.models.load import Loaded
from carrara.workspace.files import alone

# For each row the log-likelihoods of its answers or the tokens that were written, and its seconds.
Found = Sequence[tuple[Sequence[Any], float]]


def identity_of(loaded: Loaded) -> dict[str, Any]:
    """What the numbers of a pass follow from, beside the tokens that it reads; a part of its name."""
    return {
        **loaded.model.identity(),
        "dtype": str(loaded.dtype),
        "device": loaded.device.type,
        **{name: version(name) for name in ("torch", "transformers")},
    }


class Known:
    """One SQLite file, by the name of a pass; several processes may use it at once. A context manager.

    It is only there to save time: where it cannot be used, that is said once, and nothing is known or kept.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._connection: sqlite3.Connection | None = None
        try:
            with alone(path.with_suffix(".lock")):  # SQLite does not wait for others when it changes the journal's mode
                self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last passes, no more
                self._connection.execute("CREATE TABLE IF NOT EXISTS pass (name TEXT PRIMARY KEY, found TEXT NOT NULL)")
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def get(self, name: str) -> Found | None:
        """What the pass of that name gave, or None."""
        rows = self._run("SELECT found FROM pass WHERE name = ?", (name,))
        return json.loads(rows[0][0]) if rows else None

    def put(self, name: str, found: Found) -> None:
        """Keep what a pass gave."""
        self._run("INSERT OR REPLACE INTO pass VALUES (?, ?)", (name, json.dumps(found)))

    def _run(self, statement: str, values: tuple[str, ...]) -> list[tuple[str]]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return []

    def _give_up(self, error: Exception) -> None:
        self._close()
        self._say(
            f"{self._path}, which keeps what was scored, cannot be used ({error}), so a killed evaluation would begin "
            "anew; if the disk is full, make room; if the file is damaged, remove it."
        )

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def __enter__(self) -> Known:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()
