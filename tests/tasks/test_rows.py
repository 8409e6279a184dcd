"""Rows of benchmark files: each error names the row and the field, and no mark inside a text splits it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.tasks.rows import Row, read_row_list, read_rows, read_table, write_rows
from tests.tasks.rows import write_lines

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.dictionaries(TEXTS, TEXTS | st.integers() | st.lists(TEXTS))), st.sampled_from([".jsonl", ".json"]))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], end: str
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"rows{end}"
    write_rows(path, rows)
    read = read_rows if end == ".jsonl" else read_row_list
    assert [(row.number, row.fields) for row in read(path)] == list(enumerate(rows, 1))


def test_marks_that_end_lines_elsewhere_split_no_row_and_blank_lines_count(tmp_path: Path) -> None:
    text = "one\u2028two\u2029three\x85four\x0bfive"
    path = tmp_path / "rows.jsonl"
    path.write_text("\r\n".join([json.dumps({"a": text}, ensure_ascii=False), " ", '{"a": "b"}']), encoding="utf-8")
    assert [(row.number, row.text("a")) for row in read_rows(path)] == [(1, text), (3, "b")]


def test_a_packed_file_is_unpacked_and_a_torn_one_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    write_rows(path, [{"a": "x"}] * 50)
    first = path.read_bytes()
    write_rows(path, [{"a": "x"}] * 50)
    assert path.read_bytes() == first  # no time of writing in it
    assert [row.text("a") for row in read_rows(path)] == ["x"] * 50
    for damaged in (first[:-9], b"no gzip", first[:20] + b"\xff\xff\xff\xff" + first[24:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="no whole gzip file"):
            read_rows(path)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"{", r"row 2 is no JSON in UTF-8 \(Expecting property name"),
        (b"\xff", r"row 2 is no JSON in UTF-8 \('utf-8' codec"),
        (b"[" * 200_000, r"row 2 is no JSON in UTF-8 \(maximum recursion"),
        (b"9" * 5000, r"row 2 is no JSON in UTF-8 \(Exceeds the limit"),
        (b'{"a": 1, "a": 2}', r"'a' stands twice in one object"),
        (b"[]", "row 2 is a list, not an object"),
        (b"null", "row 2 is nothing, not an object"),
        (b'"text"', "row 2 is a text, not an object"),
    ],
)
def test_a_row_that_is_none_is_named(tmp_path: Path, line: bytes, sentence: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b"\n")
    with pytest.raises(ValueError, match=sentence):
        read_rows(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{}", "it is an object, not a list of rows"), ("[{}, 3]", "row 2 is a number"), ("[", "it is no JSON")],
)
def test_a_file_that_is_no_list_of_rows_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_row_list(path)


ROW = Row(7, {"text": "x", "blank": " ", "half": "\ud800", "true": True, "list": ["a", "b"], "few": ["a"], "in": {}})


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda: ROW.text("none"), "row 7, field none: it is missing"),
        (lambda: ROW.text("true"), "row 7, field true: there is a truth value where a text should be"),
        (lambda: ROW.text("half"), "row 7, field half: it holds half of a character"),
        (lambda: ROW.filled("blank"), "row 7, field blank: it is blank"),
        (lambda: ROW.whole("text"), "row 7, field text: 'x' is no whole number"),
        (lambda: ROW.whole("true"), "row 7, field true: it is a truth value, not a whole number"),
        (lambda: ROW.texts("text"), "row 7, field text: it is a text, not a list"),
        (lambda: Row(7, {"a": ["b", 1]}).texts("a"), "row 7, field a: there is a number where a text should be"),
        (lambda: ROW.choices("few"), "row 7, field few: there must be two choices or more, and there are 1"),
        (lambda: ROW.choices("list", lambda text: text.strip("b")), "row 7, field list: choice 2 is blank"),
        (lambda: ROW.part("text"), "row 7, field text: it is a text, not an object"),
        (lambda: ROW.part("in").text("a"), r"row 7, field in\.a: it is missing"),
    ],
)
def test_what_is_wrong_with_a_field_is_said(ask: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        ask()


@pytest.mark.parametrize(("value", "first", "gold"), [(0, 0, 0), ("3", 0, 3), (1, 1, 0), (4, 1, 3)])
def test_gold_is_a_place_among_the_choices(value: object, first: int, gold: int) -> None:
    assert Row(1, {"label": value}).gold("label", 4, first) == gold


@pytest.mark.parametrize(("value", "first"), [(-1, 0), (4, 0), (7, 0), ("-1", 0), (0, 1), (5, 1)])
def test_gold_outside_the_choices_is_refused(value: object, first: int) -> None:
    with pytest.raises(ValueError, match=f"row 1, field label: {value} names none of the 4 choices, {first} to"):
        Row(1, {"label": value}).gold("label", 4, first)


def test_a_table_is_read_under_the_numbers_of_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('\ufeffQuestion,Source\n"a\nb",x\nc\n', encoding="utf-8")
    rows = read_table(path)
    assert [(row.number, row.text("Question")) for row in rows] == [(3, "a\nb"), (4, "c")]
    with pytest.raises(ValueError, match="row 4, field Source: there is nothing where a text should be"):
        rows[1].text("Source")
    path.write_text('a,b\n"x"y,z\n')
    with pytest.raises(ValueError, match="it is no CSV table"):
        read_table(path)


def test_a_table_is_written_as_it_is_read(tmp_path: Path) -> None:
    rows = [{"a": 'x, "y"', "b": "1\n2"}, {"a": "", "b": "é"}]
    write_rows(tmp_path / "rows.csv", rows)
    assert [row.fields for row in read_table(tmp_path / "rows.csv")] == rows


def test_a_packed_file_holds_the_plain_lines(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl.gz", [{"a": "é"}])
    plain = write_lines(tmp_path / "rows.jsonl", [{"a": "é"}])
    assert gzip.decompress((tmp_path / "rows.jsonl.gz").read_bytes()) == plain.read_bytes()
