"""Rows that could not be read, kept with the reason and counted by kind of reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from carrara.data.example import Example
from carrara.data.prepare.outcome import Display, add_line
from carrara.data.read import BadRow
from carrara.progress import Progress

_KINDS = 200  # of reasons that are told apart
_SAID = 5
_TEXT = 2000  # characters of a row; readers give some more, so that no value is cut before it is masked
_DETAIL = re.compile(r"\s*\(.*\)$|'[^']*'")  # what differs between rows of the same trouble


@dataclass
class Quarantine:
    """Counts the rows read of each file, and for each kind of reason the bad ones with the first of them."""

    display: Display
    progress: Progress
    read: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    _first: dict[str, BadRow] = field(default_factory=dict)
    _counts: Counter[str] = field(default_factory=Counter)

    def good_rows(self, rows: Iterable[Example | BadRow], file: TextIO) -> Iterator[dict[str, Any]]:
        """The examples among rows, as JSON; the others are written to `file`."""
        for row in rows:
            self.read[row.file] += 1
            if isinstance(row, BadRow):
                self._add(row, file)
            else:
                yield row.to_json()
        if len(self._counts) > _SAID:
            self.progress.say(f"{self.bad} rows are in quarantine, for {len(self._counts)} reasons")

    def reasons(self) -> list[dict[str, Any]]:
        """Each kind of reason with its count and the place of its first row, the most frequent first."""
        return [
            {
                "reason": self.display(first.reason),
                "count": count,
                "file": first.file,
                "row": first.row,
                "field": first.field,
            }
            for first, count in ((self._first[kind], count) for kind, count in self._counts.most_common())
        ]

    def first(self) -> BadRow | None:
        """The first bad row of all."""
        return next(iter(self._first.values()), None)

    def _add(self, row: BadRow, file: TextIO) -> None:
        self.bad += 1
        kind = _DETAIL.sub("", row.reason)
        if kind not in self._first and len(self._first) >= _KINDS:
            kind = next(reversed(self._first))
        self._counts[kind] += 1
        if self._counts[kind] == 1:
            self._first[kind] = row
            if len(self._first) <= _SAID:
                self.progress.say(f"{self.display(row.sentence)}; the row is in quarantine")
        entry = {"file": row.file, "row": row.row, "field": row.field, "reason": self.display(row.reason)}
        add_line(file, entry | {"text": self.display(row.text)[:_TEXT]})
