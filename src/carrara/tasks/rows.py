"""Rows of benchmark files: what is wrong with one is said with its number and the name of the field."""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """A row, or a part of one that lies in the field `within`; `number` counts from 1, as an editor counts lines.

    Every method raises ValueError naming the row and the field if the field is missing or not of the kind asked for.
    """

    number: int
    fields: Mapping[str, Any]
    within: str = ""

    def wrong(self, field: str, what: str) -> ValueError:
        """The error that says what is wrong with a field."""
        return ValueError(f"row {self.number}, field {self.within}{field}: {what}")

    def text(self, field: str) -> str:
        """A text, which may be empty."""
        return self._as_text(field, self._value(field))

    def filled(self, field: str) -> str:
        """A text that is not blank."""
        text = self.text(field)
        if not text.strip():
            raise self.wrong(field, "it is blank")
        return text

    def whole(self, field: str) -> int:
        """A whole number; some copies write it as a text of digits."""
        value = self._value(field)
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise self.wrong(field, f"it is {_kind(value)}, not a whole number")
        try:
            return int(value)
        except ValueError as error:
            raise self.wrong(field, f"'{value}' is no whole number") from error

    def amount(self, field: str, highest: float = math.inf) -> float:
        """A number from 0 to `highest`; some copies write it as a text."""
        value = self._value(field)
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise self.wrong(field, f"it is {_kind(value)}, not a number")
        try:
            number = float(value)
        except ValueError as error:
            raise self.wrong(field, f"'{value}' is no number") from error
        if not (0 <= number <= highest and math.isfinite(number)):
            limit = f"from 0 to {highest:g}" if math.isfinite(highest) else "of 0 or more"
            raise self.wrong(field, f"{value} is no number {limit}")
        return number

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._value(field)
        if not isinstance(value, list):
            raise self.wrong(field, f"it is {_kind(value)}, not a list")
        return tuple(self._as_text(field, text) for text in value)

    def choices(self, field: str, clean: Callable[[str], str] = str) -> tuple[str, ...]:
        """The texts to choose from, cleaned: at least two, none of them blank."""
        texts = tuple(clean(text) for text in self.texts(field))
        if len(texts) < 2:
            raise self.wrong(field, f"there must be two choices or more, and there are {len(texts)}")
        if blank := [place for place, text in enumerate(texts, 1) if not text.strip()]:
            raise self.wrong(field, f"choice {blank[0]} is blank")
        return texts

    def gold(self, field: str, choices: int, first: int = 0) -> int:
        """The place of the right one of so many choices, from 0; the file counts them from `first`."""
        value = self.whole(field)
        if not first <= value < first + choices:
            raise self.wrong(field, f"{value} names none of the {choices} choices, {first} to {first + choices - 1}")
        return value - first

    def part(self, field: str) -> Row:
        """The fields inside a field."""
        value = self._value(field)
        if not isinstance(value, dict):
            raise self.wrong(field, f"it is {_kind(value)}, not an object")
        return Row(self.number, value, f"{self.within}{field}.")

    def _value(self, field: str) -> Any:
        if field not in self.fields:
            raise self.wrong(field, "it is missing")
        return self.fields[field]

    def _as_text(self, field: str, value: Any) -> str:
        if not isinstance(value, str):
            raise self.wrong(field, f"there is {_kind(value)} where a text should be")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise self.wrong(field, "it holds half of a character") from error
        return value


def read_rows(path: Path) -> list[Row]:
    r"""The rows of a file of JSON lines, unpacked if its name ends in `.gz`; blank lines are left out.

    A line ends at "\n" alone, since a question may hold other marks that end lines. Raises ValueError naming the row.
    """
    lines = _content(path).split(b"\n")
    return [_row(number, _parsed(f"row {number}", line)) for number, line in enumerate(lines, 1) if line.strip()]


def read_row_list(path: Path) -> list[Row]:
    """The rows of a file that is one JSON list; raises ValueError if it is none."""
    value = _parsed("it", _content(path))
    if not isinstance(value, list):
        raise ValueError(f"it is {_kind(value)}, not a list of rows")
    return [_row(number, row) for number, row in enumerate(value, 1)]


def read_table(path: Path, columns: Sequence[str] | None = None) -> list[Row]:
    """The rows of a CSV file with a header, or else with these `columns`, each under the number of its last line.

    Raises ValueError if it is none, or if a row has more fields than there are columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, columns, strict=True)
            return [_row_of_table(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"it is no CSV table ({error})") from error


def _row_of_table(number: int, fields: dict[Any, Any]) -> Row:
    if None in fields:  # where the reader puts what stands behind the last column
        raise ValueError(f"row {number} has {len(fields[None])} fields too many; a comma in a text needs quotes")
    return Row(number, fields)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows in the form that the ending of the file's name tells: `.json`, `.csv`, `.jsonl` or `.jsonl.gz`."""
    if path.suffix == ".json":
        path.write_text(json.dumps(list(rows), ensure_ascii=False), encoding="utf-8")
    elif path.suffix == ".csv":
        _write_table(path, list(rows))
    else:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
        path.write_bytes(gzip.compress(lines, mtime=0) if path.suffix == ".gz" else lines)


def _write_table(path: Path, rows: list[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix != ".gz":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"it is no whole gzip file ({error})") from error


def _parsed(place: str, data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is no JSON in UTF-8 ({error})") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's fields; of two alike, one would be lost without a word."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' stands twice in one object")
    return fields


def _row(number: int, value: Any) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"row {number} is {_kind(value)}, not an object")
    return Row(number, value)


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    if isinstance(value, bool):
        return "a truth value"
    kinds = {int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "nothing")
