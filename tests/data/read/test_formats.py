"""Formats, packings and encodings: the same rows come out of all of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carrara.data.example import Example
from carrara.data.read import read_rows
from carrara.errors import Refusal
from carrara.workspace import Workspace
from tests.data.read.files import GOOD, examples, lines_of, only_bad, opened, read, turns, write

ROWS = [
    {"prompt": "What is a marble?", "completion": "A stone, \"veined\";\nhewn in Carrara."},
    {"prompt": "Größe — 大理石?", "completion": "12 m\t\U0001f5ff"},
    {"prompt": "Third", "completion": "Done"},
]  # fmt: skip


def _csv(delimiter: str) -> Callable[[Sequence[Any]], bytes]:
    def make(rows: Sequence[Any]) -> bytes:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode("utf-8")

    return make


def _parquet(rows: Sequence[Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, row_group_size=2)
    return sink.getvalue()


def _arrow(kind: str) -> Callable[[Sequence[Any]], bytes]:
    def make(rows: Sequence[Any]) -> bytes:
        table, sink = pa.Table.from_pylist(list(rows)), io.BytesIO()
        with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        return sink.getvalue()

    return make


def _zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


FORMATS: dict[str, tuple[str, Callable[[Sequence[Any]], bytes]]] = {
    "jsonl": ("jsonl", lambda rows: lines_of(rows).encode("utf-8")),
    "ndjson": ("ndjson", lambda rows: lines_of(rows).encode("utf-8")),
    "list": ("json", lambda rows: json.dumps(rows, indent=2, ensure_ascii=False).encode("utf-8")),
    "object": ("json", lambda rows: json.dumps({"version": [1], "data": rows, "end": {}}).encode("utf-8")),
    "lines-in-json": ("json", lambda rows: lines_of(rows).encode("utf-8")),
    "csv": ("csv", _csv(",")),
    "semicolons": ("csv", _csv(";")),
    "tsv": ("tsv", _csv("\t")),
    "parquet": ("parquet", _parquet),
    "arrow-file": ("arrow", _arrow("file")),
    "arrow-stream": ("arrow", _arrow("stream")),
}


@pytest.mark.parametrize("packing", ["plain", "gz", "zst", "zip"])
@pytest.mark.parametrize("format", FORMATS)
def test_the_same_rows_come_out_of_every_format_and_packing(tmp_path: Path, format: str, packing: str) -> None:
    ending, make = FORMATS[format]
    content = make(ROWS)
    path = tmp_path / f"rows.{ending}"
    if packing == "zip":
        path = tmp_path / "rows.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"inner/rows.{ending}", content)
    elif packing == "plain":
        write(path, content)
    else:
        path = write(tmp_path / f"rows.{ending}.{packing}", (gzip.compress if packing == "gz" else _zstd)(content))
    found = examples(path)
    assert [turns(row) for row in found] == [
        [("user", row["prompt"]), ("assistant", row["completion"].replace("\r\n", "\n"))] for row in ROWS
    ]
    numbers = [2, 4, 5] if ending in ("csv", "tsv") else [1, 2, 3]  # a cell of two lines, below a header
    assert [row.row for row in found] == numbers
    assert found[0].file == (f"rows.zip/inner/rows.{ending}" if packing == "zip" else path.name)


def test_a_single_object_is_a_row_and_empty_lists_hold_none(tmp_path: Path) -> None:
    (row,) = examples(write(tmp_path / "one.json", json.dumps(GOOD, indent=2)))
    assert turns(row)[1] == ("assistant", "A stone.")
    chat = {"tools": [{"name": "x"}], "messages": [{"role": "user", "content": "u"}, {"role": "model", "content": "a"}]}
    (row,) = examples(write(tmp_path / "chat.json", json.dumps(chat)))
    assert (turns(row), row.tools) == ([("user", "u"), ("assistant", "a")], ({"name": "x"},))
    for content in ("[]", " [ ] \n"):
        with pytest.raises(Refusal, match="holds no row"):
            read(write(tmp_path / "none.json", content))


@pytest.mark.parametrize(
    ("content", "rows", "reasons"),
    [
        ('[{"prompt":"p","completion":"c"}, nope, {"prompt":"q","completion":"d"}]', [1, 3], ["no JSON (Expecting va"]),
        ('[{"prompt":"p","completion":"c"}, {"prompt": x, "l":["]"]}, {"prompt":"q","completion":"d"}]', [1, 3], [""]),
        ('[{"prompt":"p","completion":"c"}, 7, {"prompt":"q","completion":"d"}]', [1, 3], ["a number"]),
        ('[{"prompt":"p","completion":"c"}, ' + "[" * 9000 + "]" * 9000 + ', {"prompt":"q","completion":"d"}]',
         [1, 3], ["nested too deeply"]),
        ('[{"prompt":"p","completion":"c"}, {"prompt":"q","compl', [1], ["no JSON (Unter", "reading ends.*too early"]),
        ('[{"prompt":"p","completion":"c"} {"prompt":"q","completion":"d"}]', [1], ["reading ends.*a comma or ]"]),
        ('[{"prompt":"p","completion":"c"}] more', [1], ["reading ends.*more after the end"]),
        ('{"train":[{"prompt":"p","completion":"c"}],"test":[{"prompt":"q"}]}', [1], ["second list of objects, 't"]),
    ],
)  # fmt: skip
def test_broken_json_names_the_element_and_goes_on_where_it_can(
    tmp_path: Path, content: str, rows: list[int], reasons: list[str]
) -> None:
    found = read(write(tmp_path / "rows.json", content))
    assert [row.row for row in found if isinstance(row, Example)] == rows
    bad = [row.reason for row in found if not isinstance(row, Example)]
    assert len(bad) == len(reasons)
    for reason, expected in zip(bad, reasons, strict=True):
        assert all(word in reason for word in expected.split(".*")), (reason, expected)


def test_json_elements_across_blocks_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.data.read.jsons._BLOCK", 7)
    rows = [{**row, "prompt": row["prompt"] + "\\" * place + '"' * place} for place, row in enumerate(ROWS)]
    found = examples(write(tmp_path / "rows.json", json.dumps({"n": 12345678901, "rows": rows}, ensure_ascii=False)))
    assert [row.messages[0].content for row in found] == [row["prompt"] for row in rows]
    broken = '[{"a": nope, "s": "]}\\"]"}, {"prompt":"p","completion":"c"}]'
    good = read(write(tmp_path / "broken.json", broken))
    assert [type(row) is Example for row in good] == [False, True]


# ---- tables ----


def test_a_table_without_a_header_is_said(tmp_path: Path, workspace: Workspace) -> None:
    source, said = opened(workspace, write(tmp_path / "pairs.csv", 'A cat.,"A dog, big.",2.50\nOne.,Two.,5\n'))
    assert said == ["pairs.csv: sentence pair as csv without a header"]
    first = next(source.rows())
    assert isinstance(first, Example)
    assert (first.row, first.pair, first.score, first.answer) == (1, ("A cat.", "A dog, big."), 2.5, "2.50")
    labels = examples(write(tmp_path / "labels.csv", "3,Shares fall\n1,War ends\n"))
    assert [(row.label, row.context) for row in labels] == [("3", "Shares fall"), ("1", "War ends")]
    with pytest.raises(Refusal, match=r"has the fields column1, column2, column3, column4 \(it has no header\)"):
        read(write(tmp_path / "four.csv", "a,b,c,1\nd,e,f,2\n"))
    mapped = examples(tmp_path / "four.csv", {"prompt": "column1", "completion": "column2"})
    assert turns(mapped[1]) == [("user", "d"), ("assistant", "e")]


def test_quotes_in_a_tsv_are_text_unless_they_enclose_cells(tmp_path: Path) -> None:
    bare = examples(write(tmp_path / "bare.tsv", 'text\tlabel\n"quoted" at first\t1\nan inch: 5"\t0\n'))
    assert [row.context for row in bare] == ['"quoted" at first', 'an inch: 5"']
    quoted = examples(write(tmp_path / "quoted.tsv", 'text\tlabel\n"a ""b"""\t1\n"c"\t0\n'))
    assert [row.context for row in quoted] == ['a "b"', "c"]


def test_bad_records_of_a_table_do_not_take_others_along(tmp_path: Path) -> None:
    content = "prompt,completion\np,c\np,c,more\nalone\n\np,\nq,d\n"
    found = read(write(tmp_path / "rows.csv", content))
    said = [(row.row, None if isinstance(row, Example) else row.reason) for row in found]
    assert said == [
        (2, None),
        (3, "has 3 fields, where the table has 2"),
        (4, "has 1 fields, where the table has 2"),
        (6, "is empty, so there is nothing to learn"),
        (7, None),
    ]


def test_a_quote_that_nothing_closes_is_named_by_its_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = "".join(f"p{number},c{number}\n" for number in range(50))
    path = write(tmp_path / "rows.csv", 'prompt,completion\np,c\nq,"open\n' + rest)
    found = read(path)
    assert (len(found), only_bad(found).row) == (2, 3)
    assert "opens a quote that nothing closes" in only_bad(found).reason
    monkeypatch.setattr("carrara.data.read.tables.LINE_LIMIT", 100)
    found = read(path)
    assert only_bad(found).row == 3
    assert "a quote that nothing closes within" in only_bad(found).reason
    assert len(found) > 30  # the table goes on after the record that was given up
    header = write(tmp_path / "header.csv", '"prompt,completion\np,c\n')
    with pytest.raises(Refusal, match="row 1: opens a quote"):
        read(header)


def test_names_of_columns_that_are_empty_or_twice_stay_apart(tmp_path: Path) -> None:
    row = examples(write(tmp_path / "rows.csv", "prompt,,completion,completion\np,x,c,d\n"))[0]
    assert turns(row) == [("user", "p"), ("assistant", "c")]


def test_classes_of_a_parquet_file_have_their_names(tmp_path: Path) -> None:
    features = {"text": {"dtype": "string"}, "label": {"names": ["bad", "good"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, -1]}).replace_schema_metadata(metadata)
    pq.write_table(table, tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet")
    assert [row.label for row in found if isinstance(row, Example)] == ["good", "bad"]
    assert (only_bad(found).row, only_bad(found).reason) == (3, "is null, not a text")


def test_messages_in_columns_lose_their_nulls(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "name": "bot"}]
    pq.write_table(pa.Table.from_pylist([{"messages": chat, "tools": '[{"name": "x"}]'}]), tmp_path / "rows.parquet")
    (row,) = examples(tmp_path / "rows.parquet")
    assert [dict(message.extra) for message in row.messages] == [{}, {"name": "bot"}]
    assert row.tools == ({"name": "x"},)


# ---- encodings ----

TEXT = 'Zürich, Käse, 5 €, "ça va" — naïve'


@pytest.mark.parametrize(
    ("codec", "named"),
    [
        ("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("utf-16", "utf-16-le"), ("utf-32", "utf-32-le"),
        ("cp1252", "cp1252"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_marks_and_ends_of_lines(
    tmp_path: Path, workspace: Workspace, codec: str, named: str, ending: str, newline: str
) -> None:
    row = {"prompt": TEXT, "completion": "Größe"}
    rows = [row, {**row, "prompt": "b"}]
    make = {"csv": _csv(","), "tsv": _csv("\t")}.get(ending)
    text = make(rows).decode("utf-8").replace("\r\n", "\n") if make else (
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) if ending == "jsonl"
        else json.dumps(rows, ensure_ascii=False, indent=1)
    )  # fmt: skip
    source, said = opened(workspace, write(tmp_path / f"rows.{ending}", text.replace("\n", newline).encode(codec)))
    found = list(source.rows())
    assert [turns(row)[0][1] for row in found if isinstance(row, Example)] == [TEXT, "b"]
    assert source.describe()[0]["encoding"] == named
    assert (named in said[0]) == (named != "utf-8")


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1251", "Привет, как дела? Это проверка кодировки."),
        ("shift_jis", "こんにちは、元気ですか。これはテストです。"),
        ("gb18030", "你好，这是一个测试，看看能不能检测出来。"),
        ("cp1250", "Zażółć gęślą jaźń, to jest próba polskiego tekstu"),
    ],
)
def test_letters_tell_an_encoding(tmp_path: Path, codec: str, text: str) -> None:
    lines = "".join(json.dumps({"prompt": text, "completion": str(n)}, ensure_ascii=False) + "\n" for n in range(5))
    found = examples(write(tmp_path / "rows.jsonl", lines.encode(codec)))
    assert {row.messages[0].content for row in found} == {text}


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_line_that_does_not_decode_is_a_bad_row_with_its_byte(tmp_path: Path, ending: str) -> None:
    head = ["prompt,completion"] if ending == "csv" else []
    lines = [*head, *([f"é{n},c" if head else json.dumps({"prompt": f"é{n}", "completion": "c"}, ensure_ascii=False)
                       for n in range(4)])]  # fmt: skip
    raw = [line.encode("utf-8") for line in lines]
    raw[2] = raw[2].replace("é".encode(), b"\xe9")
    found = read(write(tmp_path / f"rows.{ending}", b"\n".join(raw)))
    bad = only_bad(found)
    place = raw[2].index(b"\xe9") + 1
    assert (len(found), bad.row, bad.reason) == (4, 3, f"does not decode as utf-8 (byte 0xe9 at {place})")
    assert "\ufffd" in bad.text


def test_half_characters_of_utf16_are_bad_rows(tmp_path: Path) -> None:
    rows = [json.dumps(GOOD), '{"prompt": "\ud800", "completion": "c"}', json.dumps(GOOD)]
    content = ("\ufeff" + "\n".join(rows)).encode("utf-16-le", "surrogatepass")
    found = read(write(tmp_path / "rows.jsonl", content))
    assert (len(found), only_bad(found).row) == (3, 2)
    cut = read(write(tmp_path / "cut.jsonl", content + b"\x0a"))
    assert [isinstance(row, Example) for row in cut] == [True, False, False]


# ---- documents ----


def test_text_is_cut_at_blank_lines_and_nothing_is_lost(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {number}. " + "Marble is metamorphic rock. " * (number % 40) for number in range(200)]
    found = examples(write(tmp_path / "book.txt", "\r\n\r\n".join(paragraphs)))
    assert [row.row for row in found] == list(range(1, len(found) + 1))
    assert all(len(row.answer) <= 4000 and row.is_document for row in found)
    assert "".join("".join(row.answer for row in found).split()) == "".join("".join(paragraphs).split())
    assert all(row.answer.startswith("Paragraph ") for row in found)
    assert sum(len(row.answer) for row in found) / len(found) > 3000


@pytest.mark.parametrize("text", ["x" * 20_000, "word " * 5000, "A sentence. " * 2000, "line\n" * 4000])
def test_a_paragraph_that_is_too_long_is_cut_between_words_where_it_can(tmp_path: Path, text: str) -> None:
    found = [row.answer for row in examples(write(tmp_path / "long.txt", text))]
    assert all(len(part) <= 4000 for part in found)
    assert "".join("".join(found).split()) == "".join(text.split())
    if " " in text:
        assert all(part.rstrip()[-1] == text.rstrip()[-1] for part in found)


def test_markdown_is_cut_at_headings_and_not_within_code(tmp_path: Path) -> None:
    code = "```python\n# no heading\n\nprint()\n```\n\n"
    sections = [f"# Part {number}\n\n" + "Some words here.\n\n" * 80 + code for number in range(4)]
    found = [row.answer for row in examples(write(tmp_path / "notes.md", "".join(sections)))]
    assert [part.partition("\n")[0] for part in found] == [f"# Part {number}" for number in range(4)]
    assert all(code.strip() in part for part in found)


def test_a_line_that_is_no_text_is_a_row_by_itself(tmp_path: Path) -> None:
    found = read(write(tmp_path / "notes.txt", "über alles\n\n".encode() * 3 + b"caf\xe9\n\nzuletzt\n"))
    assert [(row.row, isinstance(row, Example)) for row in found] == [(1, True), (2, False), (3, True)]


# ---- folders and archives ----


def test_a_folder_is_read_in_order_and_what_is_left_out_is_said(tmp_path: Path, workspace: Workspace) -> None:
    line = lines_of([GOOD])
    for name in ("b.jsonl", "a/z.jsonl", ".hidden.jsonl", ".git/x.jsonl", "image.png"):
        write(tmp_path / "data" / name, line)
    write(tmp_path / "data" / "c.csv", "prompt,completion\np,c\n")
    write(tmp_path / "data" / "README.md", "# About")
    write(tmp_path / "data" / "empty.jsonl", "\n")
    source, said = opened(workspace, tmp_path / "data")
    assert [(row.file, row.row) for row in source.rows()] == [("a/z.jsonl", 1), ("b.jsonl", 1), ("c.csv", 2)]
    assert list(source.rows()) == list(source.rows())
    assert said[0].endswith(": .hidden.jsonl, image.png, README.md, which are no files of rows")
    assert said[1:] == [
        "empty.jsonl holds no rows",
        "a/z.jsonl, b.jsonl: prompt/completion as jsonl",
        "c.csv: prompt/completion as csv",
    ]


def test_a_folder_of_text_is_documents(tmp_path: Path) -> None:
    write(tmp_path / "texts" / "one.txt", "First.")
    write(tmp_path / "texts" / "two.md", "# Second")
    assert [row.answer for row in examples(tmp_path / "texts")] == ["First.", "# Second"]


def test_a_file_among_others_that_cannot_be_used_is_a_trouble_and_not_a_refusal(
    tmp_path: Path, workspace: Workspace
) -> None:
    write(tmp_path / "data" / "good.jsonl", lines_of([GOOD]))
    write(tmp_path / "data" / "other.jsonl", lines_of([{"a": 1}, {"a": 2}]))
    write(tmp_path / "data" / "cut.parquet", _parquet(ROWS)[:-20])
    source, _ = opened(workspace, tmp_path / "data")
    found = list(source.rows())
    bad = [(row.file, row.row, row.reason.split(":")[0]) for row in found if not isinstance(row, Example)]
    assert bad[0][:2] == ("cut.parquet", 0)
    assert bad[1:] == [("other.jsonl", row, "has no shape that is known") for row in (1, 2)]
    assert source.describe()[1]["shape"] is None


def test_the_digest_is_that_of_the_files_and_their_names(tmp_path: Path, workspace: Workspace) -> None:
    for folder in ("one", "two"):
        write(tmp_path / folder / "a.jsonl", lines_of([GOOD]))
    one, two = (opened(workspace, tmp_path / folder)[0].digest(workspace) for folder in ("one", "two"))
    assert one == two
    assert json.loads(json.dumps(one)) == one
    write(tmp_path / "two" / "a.jsonl", lines_of([GOOD, GOOD]))
    assert opened(workspace, tmp_path / "two")[0].digest(workspace) != one


def test_read_rows_reads_a_single_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", b"\xef\xbb\xbf" + lines_of([GOOD, "", GOOD]).replace("\n", "\r\n").encode())
    assert [row.row for row in read_rows(path)] == [1, 3]
