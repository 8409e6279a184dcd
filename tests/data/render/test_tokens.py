"""What the tokenizer makes of a dataset: counts that add up, padding and packing told from lengths alone."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from carrara.data.example import Example, Message
from carrara.data.render.tokens import (
    CutRow,
    SetAside,
    TokenCounter,
    TokenStatistics,
    file_ranges,
    measure_chunk,
    packing_share,
    padding_share,
    statistics_from_json,
    tokens_for_dossier,
)
from carrara.recipe import TuneRecipe

_COUNTERS = st.dictionaries(st.integers(1, 60), st.integers(1, 40), max_size=8).map(Counter)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_folder)


def _pair(row: int, prompt: str, completion: str) -> Example:
    return Example((Message("user", prompt), Message("assistant", completion)), (1,), row, "f.jsonl")


# plain: a letter is a token, and so is the end
_ROWS = [
    _pair(1, "12345", "abc"),  # 9 tokens, 4 learned
    _pair(2, "1" * 20, "ab"),  # 23 tokens, 3 learned, 3 too many
    _pair(3, "1", "a" * 30),  # does not fit
    Example((Message("user", "a"), Message("user", "b"), Message("assistant", "c")), (2,), 4, "f.jsonl"),
    _pair(5, "12", "b" * 40),  # does not fit
    Example((Message("assistant", "d" * 24),), (0,), 6, "f.jsonl"),  # 25 tokens, 19 learned of 20
]


def test_a_chunk_is_counted_as_it_is_rendered(tokenizer: PreTrainedTokenizerBase) -> None:
    found = measure_chunk(_ROWS, tokenizer, "plain", 20)
    assert found.lengths == Counter({9: 1, 23: 1, 25: 1})
    assert (found.total, found.supervised) == (9 + 20 + 20, 4 + 3 + 19)
    assert (found.truncated, found.documents, found.lost) == (2, 1, 3 + 5)
    assert found.cut == (CutRow("f.jsonl", 2, 23, 3), CutRow("f.jsonl", 6, 25, 5))
    long, conversation = found.set_aside.items()
    assert long[0].startswith("its answers do not fit into 20 tokens")
    assert long[1] == SetAside(2, "f.jsonl", 3)
    assert conversation[0].startswith("it is a conversation")
    assert conversation[1] == SetAside(1, "f.jsonl", 4)


@pytest.mark.parametrize("cut", range(len(_ROWS) + 1))
def test_parts_add_up_to_the_whole(tokenizer: PreTrainedTokenizerBase, cut: int) -> None:
    parts = [measure_chunk(rows, tokenizer, "plain", 20) for rows in (_ROWS[:cut], _ROWS[cut:])]
    stored = [statistics_from_json(json.loads(json.dumps(part.to_json()))) for part in parts]
    assert sum(stored, TokenStatistics()) == measure_chunk(_ROWS, tokenizer, "plain", 20)


def test_only_the_first_cut_rows_are_named(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [_pair(number, "1" * 30, "a") for number in range(1, 26)]
    found = measure_chunk(rows[:5], tokenizer, "plain", 20) + measure_chunk(rows[5:], tokenizer, "plain", 20)
    assert (found.truncated, [row.row for row in found.cut]) == (25, list(range(1, 11)))


def test_a_worker_counts_parts_of_a_file(tiny_folder: Path, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    rows = [_pair(number, "é\u2028" * (number % 7), "a" * 150) for number in range(1, 9001)]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    ranges = list(file_ranges(path))
    assert len(ranges) == -(-path.stat().st_size // (1 << 20)) > 2
    counter = TokenCounter({"model": str(tiny_folder), "mode": "plain", "max_length": 256})
    parts = [statistics_from_json(counter(index, chunk)) for index, chunk in enumerate(ranges)]
    assert sum(parts, TokenStatistics()) == measure_chunk(rows, tokenizer, "plain", 256)
    (tmp_path / "empty.jsonl").touch()
    assert list(file_ranges(tmp_path / "empty.jsonl")) == []


def test_the_dossier_says_what_is_trained_and_what_is_lost(tokenizer: PreTrainedTokenizerBase) -> None:
    train, test = measure_chunk(_ROWS, tokenizer, "plain", 20), measure_chunk(_ROWS[:1], tokenizer, "plain", 20)
    said = tokens_for_dossier({"train": train, "test": test}, "tiny", 256, 20, TuneRecipe(batch_size=2))
    assert {key: said[key] for key in ("model", "context", "total", "supervised", "median", "p95", "longest")} == {
        "model": "tiny", "context": 256, "total": 58, "supervised": 30, "median": 9, "p95": 25, "longest": 25
    }  # fmt: skip
    assert said["bins"] == [{"from": 0, "to": 15, "count": 2}, {"from": 16, "to": 31, "count": 2}]
    assert said["truncated"]["rows"] == 2
    assert said["truncated"]["examples"][0] == {"file": "f.jsonl", "row": 2, "tokens": 23, "lost": 3}
    assert said["part_lost"] == "the beginning of the context, or of a document its end"
    assert said["set_aside"]["rows"] == 3
    assert [reason["count"] for reason in said["set_aside"]["reasons"]] == [2, 1]
    # train's rows are 9, 20 and 20 tokens: three windows of 20; the batches of two are (9, 20) and (20)
    assert said["packing"] == {"window": 20, "share_useful": pytest.approx(49 / 60), "windows": 3}
    assert said["padding"]["share_useful"] == pytest.approx(49 / 60)
    assert tokens_for_dossier({}, "tiny", 256, 20, TuneRecipe())["packing"]["windows"] == 0


def test_padding_is_what_the_batches_have() -> None:
    alike = padding_share(Counter({100: 64}), 16, 1024, 0)
    assert alike == 1.0
    # one batch of all rows, in one pass: 10 x 10 + 10 x 90 useful of 20 x 90
    assert padding_share(Counter({10: 10, 90: 10}), 20, 10_000, 0) == pytest.approx(1000 / 1800)
    # passes of at most 180 padded tokens keep the short rows by themselves
    assert padding_share(Counter({10: 10, 90: 10}), 20, 180, 0) == 1.0
    assert padding_share(Counter(), 16, 1024, 0) == 0.0


def test_padding_of_many_rows_is_told_from_a_sample() -> None:
    lengths = Counter({length: 1 + (length * 7919) % 13 for length in range(20, 400)})
    few, many = lengths, Counter({length: 1000 * count for length, count in lengths.items()})
    assert many.total() > 1_000_000
    assert padding_share(many, 16, 1024, 0) == pytest.approx(padding_share(few, 16, 1024, 0), abs=0.02)


def _best_fit_decreasing(lengths: Counter[int], window: int) -> int:
    rooms: list[int] = []
    for length in sorted(lengths.elements(), reverse=True):
        place = bisect_left(rooms, length)
        room = rooms.pop(place) if place < len(rooms) else window
        rooms.insert(bisect_left(rooms, room - length), room - length)
    return len(rooms)


@settings(max_examples=200, deadline=None)
@given(lengths=_COUNTERS, window=st.integers(60, 150))
def test_rows_of_one_length_are_packed_as_if_one_by_one(lengths: Counter[int], window: int) -> None:
    share, windows = packing_share(lengths, window)
    assert windows == _best_fit_decreasing(lengths, window)
    tokens = sum(length * count for length, count in lengths.items())
    assert share == (tokens / (windows * window) if windows else 0.0)


def test_a_million_rows_are_packed_at_once() -> None:
    lengths = Counter({length: 1 + 20_000 // (1 + abs(length - 150) // 20) for length in range(10, 2048)})
    share, windows = packing_share(lengths, 2048)
    assert lengths.total() > 1_000_000
    tokens = sum(length * count for length, count in lengths.items())
    assert windows >= tokens / 2048
    assert share > 0.99
