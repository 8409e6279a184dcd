"""Files of rows for tests, and what reading them gives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carrara.data.example import Example
from carrara.data.read import BadRow, Source, open_source, read_rows
from carrara.workspace import Workspace

GOOD = {"prompt": "What is a marble?", "completion": "A stone."}


class Heard:
    """A Progress that remembers what was said."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def track(self, label: str, total: int, unit: str, done: int = 0) -> Any:
        raise AssertionError((label, total, unit, done))


def lines_of(rows: Sequence[Any]) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def read(path: Path, mapping: dict[str, str] | None = None, group: str | None = None) -> list[Example | BadRow]:
    return list(read_rows(path, mapping, group))


def examples(path: Path, mapping: dict[str, str] | None = None, group: str | None = None) -> list[Example]:
    """The rows of a file of which none is bad."""
    found = read(path, mapping, group)
    good = [row for row in found if isinstance(row, Example)]
    assert len(good) == len(found), found
    return good


def opened(
    workspace: Workspace, path: Path, mapping: dict[str, str] | None = None, group: str | None = None
) -> tuple[Source, list[str]]:
    heard = Heard()
    return open_source(str(path), mapping or {}, group, workspace, heard), heard.sentences


def turns(example: Example) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in example.messages]


def only_bad(rows: Sequence[Example | BadRow]) -> BadRow:
    bad = [row for row in rows if isinstance(row, BadRow)]
    assert len(bad) == 1, bad
    return bad[0]
