"""Reading rows: every shape is understood, every bad row is named by number and field."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.data.example import Example
from carrara.data.read import BadRow, read_rows
from carrara.errors import Refusal

KEYS = st.sampled_from(["prompt", "completion", "messages", "role", "content"])
ROWS = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


def _rows(tmp_path: Path, *rows: Any) -> list[Example | BadRow]:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return list(read_rows(path))


def test_the_three_shapes_become_messages(tmp_path: Path) -> None:
    pair, alpaca, bare, chat = _rows(
        tmp_path,
        {"prompt": "p", "completion": "c"},
        {"instruction": "i", "input": "x", "output": "o"},
        {"instruction": "i", "input": "", "output": "o"},
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "u"},
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": "v"},
                {"role": "assistant", "content": "b"},
            ]
        },
    )
    assert isinstance(pair, Example)
    assert [(m.role, m.content) for m in pair.messages] == [("user", "p"), ("assistant", "c")]
    assert isinstance(alpaca, Example)
    assert alpaca.messages[0].content == "i\n\nx"
    assert isinstance(bare, Example)
    assert bare.messages[0].content == "i"
    assert isinstance(chat, Example)
    assert chat.supervised == (2, 4)


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ("[1, 2]", None, "a list"),
        ("{broken", None, "no JSON"),
        ({"prompt": "p"}, "completion", "missing"),
        ({"prompt": "p", "completion": ""}, "completion", "empty"),
        ({"prompt": " ", "completion": "c"}, "prompt", "empty"),
        ({"prompt": "p", "completion": 3}, "completion", "a number"),
        ({"question": "p", "answer": "c"}, None, "answer, question"),
        ({"messages": []}, "messages", "empty"),
        ({"messages": [{"role": "user", "content": "u"}]}, "messages", "nothing to learn"),
        ({"messages": [{"role": "robot", "content": "u"}]}, "messages[0].role", "robot"),
        ({"messages": [{"role": "assistant", "content": "u"}]}, "messages[0]", "nothing before"),
        ({"messages": ["u"]}, "messages[0]", "a text"),
        ({"prompt": "\ud800", "completion": "c"}, "prompt", "surrogate"),
    ],
)
def test_a_bad_row_is_named_by_number_and_field(tmp_path: Path, row: Any, field: str | None, reason: str) -> None:
    good = {"prompt": "p", "completion": "c"}
    _, bad, after = _rows(tmp_path, good, row, good)
    assert isinstance(bad, BadRow)
    assert (bad.row, bad.field) == (2, field)
    assert reason in bad.reason
    assert isinstance(after, Example)


def test_blank_lines_bom_and_crlf_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt":"p","completion":"c"}\r\n\r\n{"prompt":"q","completion":"d"}\r\n')
    rows = list(read_rows(path))
    assert [row.row for row in rows] == [1, 3]
    assert all(isinstance(row, Example) for row in rows)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    empty, latin = tmp_path / "empty.jsonl", tmp_path / "latin.jsonl"
    empty.touch()
    latin.write_bytes(b'{"prompt":"p","completion":"c"}\n{"prompt":"caf\xe9","completion":"c"}\n')
    for path, words in ((tmp_path / "no.jsonl", "does not exist"), (tmp_path, "is a folder"), (empty, "is empty")):
        with pytest.raises(Refusal, match=words):
            list(read_rows(path))
    with pytest.raises(Refusal, match="not UTF-8"):
        list(read_rows(latin))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_no_file_makes_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "rows.jsonl"
    path.write_bytes(content)
    with contextlib.suppress(Refusal):
        assert all(isinstance(row, Example | BadRow) for row in read_rows(path))


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_no_json_row_makes_a_traceback(tmp_path_factory: pytest.TempPathFactory, row: Any) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    assert all(isinstance(result, Example | BadRow) for result in _rows(folder, row))
