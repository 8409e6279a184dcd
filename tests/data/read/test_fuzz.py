"""Fuzzing: whatever a file holds, it is refused or every row of it is an example or a bad row, and counts add up."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carrara.data.example import Example, example_from_json
from carrara.data.read import BadRow, read_rows
from carrara.data.read.streams import FORMATS
from carrara.errors import Refusal
from tests.data.read.files import GOOD, lines_of

FIELDS = st.sampled_from(
    ["prompt", "completion", "messages", "conversations", "role", "content", "from", "value", "text", "label", "score",
     "sentence1", "sentence2", "instruction", "input", "output", "tools", "tool_calls", "weight", "question", "answer"]
)  # fmt: skip
TEXTS = st.text(max_size=5) | st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "\ud800", "\0"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)
TABLES = st.lists(
    st.sampled_from(["prompt", "completion", "text", "label", ",", ";", "\t", '"', "\n", "\r\n", "p", "1", " ", "é"]),
    max_size=40,
).map("".join)
MARKUP = st.lists(
    st.sampled_from(["[", "]", "{", "}", ",", ":", '"', "\\", '"prompt"', '"completion"', '"p"', "1", "nul", " ", "\n",
                     '{"prompt":"p","completion":"c"}', "NaN", "\xe9"]), max_size=40,
).map("".join)  # fmt: skip
GOOD_LINES = lines_of([GOOD] * 3).encode("utf-8")
relaxed = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _read(name: str, content: bytes) -> list[Example | BadRow] | None:
    """The rows of a file, each of which can be kept; None where it is refused, in one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            rows = list(read_rows(path))
            assert rows == list(read_rows(path))
        except Refusal as refusal:
            lines = str(refusal).encode("utf-8").splitlines()
            return None if len(lines) == 1 else pytest.fail(str(refusal))
    for row in rows:
        if isinstance(row, Example):
            assert example_from_json(json.loads(json.dumps(row.to_json()))).id == row.id
            assert row.supervised
        else:
            assert isinstance(row, BadRow)
            (row.sentence + row.text).encode("utf-8")
    return rows


def _lines(content: bytes) -> int:
    return sum(bool(line.strip()) for line in content.split(b"\n"))


@pytest.mark.parametrize("ending", [*FORMATS, ".jsonl.gz", ".csv.zst", ".zip"])
@settings(relaxed, max_examples=30)
@given(content=st.binary(max_size=200))
def test_no_bytes_make_a_traceback(ending: str, content: bytes) -> None:
    _read(f"rows{ending}", content)


@relaxed
@given(st.lists(st.binary(max_size=30) | VALUES.map(lambda value: json.dumps(value).encode()), max_size=8))
def test_json_lines_add_up(lines: Sequence[bytes]) -> None:
    content = GOOD_LINES + b"\n".join(lines)
    rows = _read("rows.jsonl", content)
    assert rows is not None
    assert len(rows) == _lines(content)
    assert len({row.row for row in rows}) == len(rows)


@relaxed
@given(st.lists(VALUES, max_size=6), st.booleans())
def test_json_elements_add_up(values: list[Any], is_inner: bool) -> None:
    elements = [GOOD, *values]
    rows = _read("rows.json", json.dumps({"rows": elements} if is_inner else elements).encode())
    assert rows is not None
    assert [row.row for row in rows] == list(range(1, len(elements) + 1))


@relaxed
@given(st.lists(st.dictionaries(FIELDS, VALUES, max_size=5), min_size=1, max_size=6))
def test_records_of_every_shape_add_up(records: list[dict[str, Any]]) -> None:
    rows = _read("rows.jsonl", lines_of(records).encode())
    assert rows is None or len(rows) == len(records)


@relaxed
@given(MARKUP)
def test_pieces_of_json_make_no_traceback(text: str) -> None:
    for content in (text, f'[{{"prompt":"p","completion":"c"}},{text}]', f'{{"rows":[{{"text":"t"}}],{text}}}'):
        _read("rows.json", content.encode())


@relaxed
@given(TABLES, st.sampled_from(["csv", "tsv"]))
def test_tables_add_up(text: str, ending: str) -> None:
    head = b"prompt,completion\np,c\n" if ending == "csv" else b"prompt\tcompletion\np\tc\n"
    _read(f"rows.{ending}", text.encode())
    rows = _read(f"rows.{ending}", head + text.encode())
    if rows is not None and '"' not in text:
        assert len(rows) == _lines(head + text.encode()) - 1


@relaxed
@given(st.text(max_size=200) | st.lists(st.sampled_from(["# A\n", "\n", "```\n", "x " * 900, "y" * 4100]), max_size=9)
       .map("".join), st.sampled_from(["txt", "md"]))  # fmt: skip
def test_documents_lose_nothing(text: str, ending: str) -> None:
    content = text.encode("utf-8", "replace")
    rows = _read(f"rows.{ending}", content)
    kept = "".join((row.answer if isinstance(row, Example) else row.text) for row in rows or [])
    if rows is not None and "\0" not in text and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        expected = content.decode("utf-8-sig")
        assert "".join(kept.split()) == "".join(expected.split())


def _packed() -> dict[str, bytes]:
    table, parquet, arrow, archive = pa.Table.from_pylist([GOOD] * 20), io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("a/rows.jsonl", GOOD_LINES)
        members.writestr("rows.csv", "prompt,completion\np,c\n")
    return {"parquet": parquet.getvalue(), "arrow": arrow.getvalue(), "zip": archive.getvalue(),
            "jsonl.gz": gzip.compress(GOOD_LINES)}  # fmt: skip


@pytest.mark.parametrize("ending", ["parquet", "arrow", "zip", "jsonl.gz"])
@settings(relaxed, max_examples=80)
@given(data=st.data())
def test_damaged_bytes_of_packed_files_make_no_traceback(ending: str, data: st.DataObject) -> None:
    content = bytearray(_packed()[ending])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _read(
        f"rows.{ending}",
        bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content),
    )
