"""Files as records: what a file's beginning says about it, and all of its records as examples or bad rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any

from carrara.data.example import Example
from carrara.data.read.bad import BadField, BadRow, Broken, Damaged, named, shown
from carrara.data.read.columns import read_arrow, read_parquet
from carrara.data.read.documents import read_passages
from carrara.data.read.jsons import Record, looks_like_lines, read_json, read_json_lines
from carrara.data.read.shapes import KNOWN_NAMES, Shape, detect_shape, has_field, read_example
from carrara.data.read.streams import DOCUMENTS, SourceFile, format_of, open_bytes, open_seekable
from carrara.data.read.tables import Table, inspect_table, read_table
from carrara.data.read.text import LINE_LIMIT, Encoding, detect_encoding, open_text
from carrara.errors import Refusal

_SAMPLE = 1 << 20  # bytes
_FIRST = 100  # records that show a file's shape,
_FIRST_SIZE = 4_000_000  # fewer if they have more characters
_WHOLE = ("parquet", "arrow")  # formats that are no text


@dataclass(frozen=True)
class Layout:
    """What the beginning of a file says: how its text is written, and its shape, None where no record has a known one.

    `unused` are fields of the first rows that no part comes from.
    """

    format: str
    encoding: Encoding | None = None
    table: Table | None = None
    shape: Shape | None = None
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Beginning:
    """The layout of a file, its first records, what was wrong with the first of them, and why it ended if it broke."""

    layout: Layout
    records: tuple[Mapping[str, Any], ...]
    problem: BadRow | None


def inspect_file(file: SourceFile, mapping: Mapping[str, str], group: str | None) -> Beginning:
    """Read the beginning of a file; raises Damaged if nothing of it can be read."""
    known = KNOWN_NAMES | {field.lower() for field in mapping.values()} | ({group.lower()} if group else set())
    layout = _layout(file, known)
    records, problem = _first_records(file, layout)
    if layout.format in DOCUMENTS:
        shape = Shape("document", {"text": "text"}, group)
    else:
        shape = detect_shape(records, mapping, group)
    used = {*(shape.fields.values() if shape else ()), group}
    unused = dict.fromkeys(str(key) for record in records for key in record if key not in used) if shape else {}
    return Beginning(Layout(layout.format, layout.encoding, layout.table, shape, tuple(unused)), records, problem)


def _layout(file: SourceFile, known: Collection[str]) -> Layout:
    if file.format in _WHOLE:
        return Layout(file.format)
    with open_bytes(file) as stream:
        encoding = detect_encoding(_sample(stream))
    if file.format not in ("csv", "tsv", "json"):
        return Layout(file.format, encoding)
    with open_bytes(file) as stream:
        text = open_text(stream, encoding)
        raw = _sample(text)
        if len(raw) >= _SAMPLE:  # whole lines, and the first however long it is
            head, mark, _ = raw.rpartition(b"\n")
            raw = head if mark else raw + text.readline(LINE_LIMIT)
    sample = raw.decode(encoding.codec, "replace")
    if file.format == "json":
        return Layout("jsonl" if looks_like_lines(sample) else "json", encoding)
    return Layout(file.format, encoding, inspect_table(sample, file.format == "tsv", known))


def _sample(stream: BufferedReader) -> bytes:
    """The beginning of a stream, as much as there is before the end or before damage; raises Damaged if nothing is."""
    sample = b""
    try:
        while len(sample) < _SAMPLE and (block := stream.read1(_SAMPLE)):
            sample += block
    except Damaged:
        if not sample:
            raise
    return sample


def _first_records(file: SourceFile, layout: Layout) -> tuple[tuple[Mapping[str, Any], ...], BadRow | None]:
    records: list[Mapping[str, Any]] = []
    problem: BadRow | None = None
    size = 0
    try:
        for row, value, text in islice(read_records(file, layout), _FIRST):
            size += len(text or "")
            if isinstance(value, Broken):
                problem = problem or BadRow(file.name, row, None, value.reason, "")
            else:
                records.append(value)
                size += sum(len(part) for part in value.values() if isinstance(part, str)) if text is None else 0
            if size > _FIRST_SIZE:
                break
    except Damaged:
        if not records and not problem:
            raise
    return tuple(records), problem


def read_records(file: SourceFile, layout: Layout) -> Iterator[Record]:
    """The raw records of a file: number, value or Broken, and the raw text of a line; raises Damaged."""
    if layout.format in _WHOLE:
        with open_seekable(file) as stream:
            yield from (read_parquet if layout.format == "parquet" else read_arrow)(stream)
        return
    assert layout.encoding is not None
    with open_bytes(file) as packed:
        stream, codec = open_text(packed, layout.encoding), layout.encoding.codec
        if layout.format == "jsonl":
            yield from read_json_lines(stream, codec)
        elif layout.format == "json":
            yield from read_json(stream, codec)
        elif layout.table:
            yield from read_table(stream, codec, layout.table)
        else:
            yield from read_passages(stream, codec, layout.format == "markdown")


def read_fields(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a file as they are, each with its number; raises Refusal naming the first that cannot be read."""
    format, compression = format_of(path.name)
    if format is None or format in DOCUMENTS:
        raise Refusal(f"{path} is no file of rows; give JSONL, JSON, CSV, TSV, Parquet or Arrow.")
    file = SourceFile(path.name, path, None, format, compression)
    row = 0
    try:
        for row, value, _ in read_records(file, _layout(file, ())):
            if isinstance(value, Broken) or not isinstance(value, Mapping):
                reason = value.reason if isinstance(value, Broken) else "is no mapping of names to values"
                raise Refusal(f"{path}, row {row}: {reason}; correct it.")
            yield row, value
    except Damaged as error:
        raise Refusal(f"{path}, behind row {row}: {error}; correct it, or make the file again.") from error


def read_rows_of(file: SourceFile, layout: Layout) -> Iterator[Example | BadRow]:
    """Every record of a file as an example or as the reason why it is none; what is damaged ends with a bad row."""
    row, name, shape = 0, file.name, layout.shape
    try:
        for row, value, text in read_records(file, layout):
            if value.__class__ is Broken:
                yield BadRow(name, row, None, value.reason, shown(value.text or text or ""))
                continue
            try:
                if shape is None:
                    raise BadField(None, "has no shape that is known: the fields " + _names(value))
                example = read_example(shape, value, row, name)
            except BadField as bad:
                yield BadRow(name, row, bad.field, str(bad), shown(text or value))
            else:
                yield example
    except Damaged as error:
        yield BadRow(name, row + 1, None, f"is where reading ends: {error}", "")


def has_group(file: SourceFile, layout: Layout, group: str) -> bool:
    """Whether any record of a file has the field of the group."""
    try:
        return any(isinstance(value, dict) and has_field(value, group) for _, value, _ in read_records(file, layout))
    except Damaged:
        return False


def _names(record: Mapping[str, Any]) -> str:
    return ", ".join(named(str(key)) for key in sorted(map(str, record))[:20]) or "(none)"
