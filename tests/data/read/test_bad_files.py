"""Bad files: each is a sentence, what was read before stays, and memory stays bounded."""

from __future__ import annotations

import gzip
import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from carrara.data.example import Example
from carrara.data.read import BadRow
from carrara.errors import Refusal
from carrara.workspace import Workspace
from tests.data.read.files import GOOD, lines_of, only_bad, opened, read, write

LINES = lines_of([GOOD] * 3)


def _zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.jsonl", None, "does not exist; give the path of a file or folder of rows"),
        ("no\0path.jsonl", None, "does not exist"),
        ("n" * 300 + ".jsonl", None, "cannot be read"),
        ("rows.jsonl", b"", "is empty; give a file with rows"),
        ("rows.jsonl", b"\n \r\n\t\n", "holds no row"),
        ("rows.csv", b"\n", "holds no row"),
        ("rows.csv", b"prompt,completion\n", "holds no row"),
        ("rows.txt", b"\n\n", "holds no row"),
        ("rows.jsonl", b"PK\x03\x04 no text \x00\xff", "row 1: does not decode as utf-8"),
        ("rows.jsonl", b'{"prompt": "p"\n', "no row of .*row 1: is no JSON"),
        ("rows.docx", b"PK", r"has no ending that says its format; give .jsonl, .ndjson"),
        ("rows", b"PK", "has no ending that says its format"),
        ("rows.json", b"7", "row 1: is no JSON list or object"),
        ("rows.json", b'{"a": 1', "it cannot|is no JSON"),
        ("rows.jsonl.gz", b"no gzip", "rows.jsonl.gz: it cannot be read .Not a gzipped file"),
        ("rows.jsonl.zst", b"no zstd", "rows.jsonl.zst: it cannot be read .ZSTD decompress failed"),
        ("rows.zip", b"no zip", "rows.zip: is no zip archive"),
        ("rows.parquet", b"PAR1", "is no whole Parquet file"),
        ("rows.arrow", b"ARROW1xx", "is no whole Arrow file"),
        ("rows.arrow", b"\xff\xff\xff\xff", "is no whole Arrow file"),
    ],
)
def test_a_file_without_rows_is_refused_in_a_sentence(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Refusal, match=words) as refused:
        read(path)
    assert len(str(refused.value).splitlines()) == 1


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in (tmp_path / "pipe.jsonl", Path("/dev/null")):
        with pytest.raises(Refusal, match="is no regular file; save its rows to a file"):
            read(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(Refusal, match="folder holds no file; give"):
        read(tmp_path / "folder")
    write(tmp_path / "folder" / "a.png", b"x")
    os.mkfifo(tmp_path / "folder" / "pipe.jsonl")
    with pytest.raises(Refusal, match=r"holds no file of rows \(of a.png, pipe.jsonl\)"):
        read(tmp_path / "folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", LINES)
    path.chmod(0)
    with pytest.raises(Refusal, match=r"cannot be read .Permission denied.; check its permissions"):
        read(path)


@pytest.mark.parametrize("kept", [0.5, 0.9, -1])
def test_packed_files_cut_short_keep_the_rows_before(tmp_path: Path, kept: float) -> None:
    rows = lines_of([{"prompt": os.urandom(30).hex(), "completion": "c"} for _ in range(9000)])
    packed = gzip.compress(rows.encode())
    found = read(write(tmp_path / "rows.jsonl.gz", packed[: int(len(packed) * kept) if kept > 0 else -1]))
    bad = found[-1]
    assert isinstance(bad, BadRow)
    assert bad.reason.startswith("is where reading ends: it cannot be read (Compressed file ended")
    assert bad.row == len(found) > 1000
    assert all(isinstance(row, Example) for row in found[:-1])


def test_an_arrow_stream_cut_in_half_keeps_the_rows_before(tmp_path: Path) -> None:
    table, sink = pa.Table.from_pylist([{"prompt": f"p{n}", "completion": "c"} for n in range(3000)]), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    found = read(write(tmp_path / "rows.arrow", sink.getvalue()[: sink.tell() // 2]))
    assert only_bad(found).row == len(found) > 1000
    assert "is where reading ends: it is no whole Arrow file" in only_bad(found).reason


def test_a_parquet_file_cut_in_half_or_damaged_is_a_sentence(tmp_path: Path) -> None:
    rows = [{"prompt": os.urandom(30).hex(), "completion": "c"} for _ in range(3000)]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=500, compression="gzip")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refusal, match=r"rows\.parquet: it is no whole Parquet file"):
        read(path)
    path.write_bytes(whole[: len(whole) // 2] + b"\0" * 500 + whole[len(whole) // 2 + 500 :])
    found = read(path)
    assert only_bad(found).row == len(found) > 500


def test_values_that_are_none_are_bad_rows_and_the_others_stay(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"),
                                                    pa.py_buffer(b"a\xffc")])  # fmt: skip
    table = pa.table({"prompt": broken, "completion": ["x", "y", "z"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet")
    assert (len(found), only_bad(found).row) == (3, 2)
    assert only_bad(found).reason == "holds a value that is damaged"


def test_a_line_of_any_length_is_one_bad_row_in_bounded_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", LINES)
    with path.open("ab") as file:
        file.truncate(file.tell() + (100 << 20))  # nothing on the disk: a line of 100 MB
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + LINES.encode())
    tracemalloc.start()
    found = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(found), only_bad(found).row, only_bad(found).reason) == (7, 4, "is a line of over 16 MB")
    assert peak < 80 << 20


def test_an_element_of_any_length_is_one_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.data.read.jsons.LINE_LIMIT", 1000)
    monkeypatch.setattr("carrara.data.read.jsons._BLOCK", 100)
    rows = [GOOD, {"prompt": "x" * 9000 + '"]}\\', "completion": ["[", {}]}, GOOD]
    found = read(write(tmp_path / "rows.json", f"[{','.join(lines_of([row]) for row in rows)}]"))
    assert (len(found), only_bad(found).row) == (3, 2)
    assert "within 0 MB" in only_bad(found).reason


def test_a_table_of_a_million_columns_is_refused(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(1_000_000))
    with pytest.raises(Refusal, match="it has 1,000,000 columns, and at most 10,000 are read"):
        read(write(tmp_path / "wide.csv", f"{names}\n{names}\n"))
    found = read(write(tmp_path / "rows.csv", f"prompt,completion\np,c\n{names}\nq,d\n"))
    assert (len(found), only_bad(found).row) == (3, 3)
    assert only_bad(found).reason == "has 1,000,000 fields, where the table has 2"


def test_a_cell_of_a_megabyte_is_read(tmp_path: Path) -> None:
    text = "marble\n" * 200_000
    (row,) = read(write(tmp_path / "rows.csv", f'prompt,completion\np,"{text}"\n'))
    assert isinstance(row, Example)
    assert row.answer == text


def test_bombs_are_left_after_the_rows_that_are_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.data.read.streams.BOMB_BYTES", 1 << 20)
    content = LINES + ("\n" * (4 << 20))
    gz = write(tmp_path / "rows.jsonl.gz", gzip.compress(content.encode()))
    archive = _zip(tmp_path / "rows.zip", {"rows.jsonl": content})
    for path in (gz, archive):
        found = read(path)
        assert [isinstance(row, Example) for row in found] == [True] * 3 + [False]
        assert only_bad(found).reason == (
            "is where reading ends: it unpacks to over 200 times its size, as a decompression bomb does"
        )
    with pytest.raises(Refusal, match="as a decompression bomb does"):
        read(_zip(tmp_path / "table.zip", {"rows.parquet": "PAR1" + "\0" * (4 << 20)}))


def test_members_of_archives_that_are_not_read_are_named(tmp_path: Path, workspace: Workspace) -> None:
    names = ["../up.jsonl", "/root.jsonl", "C:\\x.jsonl", "a/../../b.jsonl", "in.zip", "in.tar.gz"]
    path = _zip(tmp_path / "rows.zip", {**dict.fromkeys(names, LINES), "good.jsonl": LINES, "__MACOSX/x.jsonl": "x",
                                        ".hidden.jsonl": LINES, "a.png": "x"})  # fmt: skip
    content = bytearray(path.read_bytes())
    source, said = opened(workspace, path)
    found = list(source.rows())
    assert len([row for row in found if isinstance(row, Example)]) == 3
    bad = {row.file.removeprefix("rows.zip/"): row.reason for row in found if isinstance(row, BadRow)}
    assert set(bad) == set(names)
    assert all(bad[name].startswith("has a name that leads out of the archive") for name in names[:4])
    assert bad["in.zip"].startswith("is an archive within an archive")
    assert said[0].startswith("skipped in ")
    assert not list(tmp_path.parent.glob("*.jsonl"))
    for mark, place in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):  # the flag of encryption, in every header
        start = -1
        while (start := content.find(mark, start + 1)) >= 0:
            content[start + place] |= 1
    with pytest.raises(Refusal, match="has nothing that can be read"):
        read(write(tmp_path / "locked.zip", bytes(content)))


def test_members_of_the_same_name_are_read_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.jsonl", LINES)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("rows.jsonl", LINES)
    found = read(path)
    assert (len(found), only_bad(found).reason) == (4, "has the name of another member")


def test_a_file_that_is_gone_after_it_was_looked_into_is_a_bad_row(tmp_path: Path, workspace: Workspace) -> None:
    path = write(tmp_path / "rows.jsonl", LINES)
    source, _ = opened(workspace, path)
    path.unlink()
    (bad,) = source.rows()
    assert isinstance(bad, BadRow)
    assert bad.reason == "is where reading ends: it cannot be read (No such file or directory)"
