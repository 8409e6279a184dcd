"""CSV and TSV: how a table is written is found from its beginning, and one bad record never takes the others along."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader

from carrara.data.read.bad import Broken, Damaged
from carrara.data.read.jsons import Record
from carrara.data.read.text import LINE_LIMIT, SPACE, raw_lines, undecodable

COLUMN_LIMIT = 10_000
_DELIMITERS = (",", ";", "\t")
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_LONGEST_NAME = 100
_SAMPLED = 50
_SHOWN = 2500


@dataclass(frozen=True)
class Table:
    """How a table is written. `names` are its columns, from the first record if `has_header`."""

    delimiter: str
    quoted: bool
    has_header: bool
    names: tuple[str, ...]


def inspect_table(sample: str, is_tsv: bool, known: Collection[str]) -> Table:
    """How a table that begins with the whole lines `sample` is written; `known` names, in lower case, make a header.

    Raises Damaged for more columns than any table of rows has.
    """
    _allow_long_cells()
    lines = [line + "\n" for line in sample.split("\n")]
    delimiter = "\t" if is_tsv else max(_DELIMITERS, key=lambda mark: _evenness(_records(lines, mark, quoted=True)))
    quoted = not is_tsv or _is_quoted(lines)
    records = _records(lines, delimiter, quoted)
    first = records[0] if records else []
    if len(first) > COLUMN_LIMIT:
        raise Damaged(f"it has {len(first):,} columns, and at most {COLUMN_LIMIT:,} are read")
    if _is_header(first, known):
        return Table(delimiter, quoted, True, _distinct(first))
    return Table(delimiter, quoted, False, _invented(records))


def _records(lines: Sequence[str], delimiter: str, quoted: bool) -> list[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    records: list[list[str]] = []
    try:
        for record in reader:
            if len(record) > 1 or any(cell.strip(SPACE) for cell in record):
                records.append(record)
            if len(records) == _SAMPLED:
                break
    except csv.Error:
        pass  # the beginning of a table is enough; reading it names the record
    return records


def _evenness(records: Sequence[Sequence[str]]) -> float:
    """The share of records that are as wide as the first; nothing for a single column."""
    width = len(records[0]) if records else 0
    return sum(len(record) == width for record in records) / len(records) if width > 1 else 0.0


def _is_quoted(lines: Sequence[str]) -> bool:
    """Whether quotes in a TSV enclose cells; many are written without, and begin cells with quotes that are text."""
    cells = [cell.rstrip("\r\n") for line in lines[:_SAMPLED] for cell in line.split("\t") if cell.startswith('"')]
    if cells and all(_QUOTED.fullmatch(cell) for cell in cells):
        return True
    plain, quoted = (_evenness(_records(lines, "\t", is_quoted)) for is_quoted in (False, True))
    return quoted > plain


def _is_header(first: Sequence[str], known: Collection[str]) -> bool:
    cells = [cell.strip() for cell in first]
    if any(cell.lower() in known for cell in cells):
        return True
    return not any(_NUMBER.fullmatch(cell) or len(cell) > _LONGEST_NAME for cell in cells)


def _distinct(first: Sequence[str]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for place, cell in enumerate(first, start=1):
        name = cell.strip() or f"column{place}"
        names[name if name not in names else f"{name}_{place}"] = None
    return tuple(names) if len(names) == len(first) else tuple(f"column{place + 1}" for place in range(len(first)))


def _invented(records: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Names for columns without a header: two sentences and a score, a text and a class, or numbers."""
    width = len(records[0]) if records else 0
    columns = list(zip(*(record for record in records if len(record) == width), strict=True))
    numeric = [all(_NUMBER.fullmatch(cell.strip()) for cell in column) for column in columns]
    if numeric == [False, False, True]:
        return ("sentence1", "sentence2", "score")
    if sorted(numeric) == [False, True]:
        label = numeric.index(True)
        if all(_WHOLE.fullmatch(cell.strip()) for cell in columns[label]):
            return ("text", "label") if label else ("label", "text")
    return tuple(f"column{place + 1}" for place in range(width))


def read_table(stream: BufferedReader, codec: str, table: Table) -> Iterator[Record]:
    """Every record that is not blank, numbered by its first line; a record that cannot be one is Broken."""
    _allow_long_cells()
    feed = _Feed(stream, codec)
    quoting = csv.QUOTE_MINIMAL if table.quoted else csv.QUOTE_NONE
    reader = csv.reader(feed, delimiter=table.delimiter, quoting=quoting)
    names, width = table.names, len(table.names)
    is_header = table.has_header
    while True:
        feed.begin()
        try:
            cells = next(reader, None)
        except (csv.Error, _Cut) as error:
            yield feed.first, feed.broken or Broken(f"is no record of a table ({error})", feed.text), None
            is_header = False
            continue
        if cells is None:
            return
        if feed.is_blank:
            continue
        if is_header and not feed.has_ended:
            is_header = False
        elif feed.broken:
            yield feed.first, feed.broken, None
        elif feed.has_ended:
            yield feed.first, Broken("opens a quote that nothing closes up to the end of the file", feed.text), None
        elif len(cells) != width:
            yield feed.first, Broken(f"has {len(cells):,} fields, where the table has {width:,}", feed.text), None
        else:
            yield feed.first, dict(zip(names, cells, strict=True)), None


def _allow_long_cells() -> None:
    """Raise the 128 KB that the csv module allows a cell, which it keeps for the whole process."""
    csv.field_size_limit(max(csv.field_size_limit(), LINE_LIMIT + 1))


class _Cut(Exception):
    """A record that is given up."""


class _Feed:
    """Lines for csv.reader, and what is known of those that make up the present record."""

    def __init__(self, stream: BufferedReader, codec: str) -> None:
        self._lines = raw_lines(stream)
        self._codec = codec
        self.begin()

    def begin(self) -> None:
        self.first = 0
        self.text = ""
        self.broken: Broken | None = None
        self.has_ended = False
        self.is_blank = True
        self._size = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        number, raw = next(self._lines, (0, None))
        if raw is None:
            self.has_ended = True
            raise StopIteration
        self.first = self.first or number
        if isinstance(raw, Broken):
            self.broken, self.is_blank = raw, False
            raise _Cut
        self._size += len(raw)
        if self._size > LINE_LIMIT:
            raise _Cut(f"a quote that nothing closes within {LINE_LIMIT >> 20} MB")
        try:
            line = raw.decode(self._codec)
        except UnicodeDecodeError as error:
            self.broken = self.broken or undecodable(raw, error)
            line = raw.decode(self._codec, "replace")  # only to find the end of the record, which is not taken
        if len(self.text) < _SHOWN:
            self.text += line
        self.is_blank = self.is_blank and not line.strip(SPACE)
        return line
