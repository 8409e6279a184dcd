"""What can be wrong with rows: a row that is not taken, and the signals by which readers say so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from carrara.wording import line

_TEXT_LENGTH = 2500
_NAME_LENGTH = 100
_REASON_LENGTH = 500


@dataclass(frozen=True)
class BadRow:
    """A row that was not taken: where it is, the field at fault, why, and the beginning of its text.

    `row` counts from 1 within `file`: lines of line formats and tables, elements of JSON, rows of Parquet and Arrow,
    passages of text. It is 0 where a whole file is not read.
    """

    file: str
    row: int
    field: str | None
    reason: str
    text: str

    @property
    def sentence(self) -> str:
        """The whole of it as one line, whatever the names and the reason hold."""
        place = f", row {self.row}" if self.row else ""
        field = f", field '{named(self.field)}'" if self.field else ""
        return f"{named(self.file)}{place}{field}: {_line(self.reason, _REASON_LENGTH)}"


@dataclass(frozen=True)
class Broken:
    """What a reader yields in place of a record that it cannot make out."""

    reason: str
    text: str = ""


class BadField(Exception):
    """A record that is no example: the field at fault, None where it is the whole row, and why."""

    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class Damaged(Exception):
    """A file that cannot be read, or not from here on; its text is the reason."""


def shown(value: Any) -> str:
    """The beginning of a raw text, or of a record as JSON, for a BadRow; always text that can be written."""
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, default=str)
        except (ValueError, TypeError, RecursionError):
            value = ""
    return _written(value[:_TEXT_LENGTH].rstrip("\r\n"))


def named(name: str) -> str:
    """A name from outside as it can stand in a sentence."""
    return _line(name, _NAME_LENGTH)


def _line(text: str, most: int) -> str:
    return line(_written(text), most)


def _written(text: str) -> str:
    """The text with a question mark for each half of a character, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def kind_of(value: object) -> str:
    """What a value is, in words."""
    if isinstance(value, float) and value != value:
        return "NaN"
    kinds = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false",
             dict: "an object", type(None): "null", bytes: "bytes"}  # fmt: skip
    return kinds.get(type(value), f"a {type(value).__name__}")
