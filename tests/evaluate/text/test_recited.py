"""What stands in training rows word for word."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.evaluate.text.recited import Recited

_ROW = "The quick brown fox jumps over the lazy dog, as it has always done."
_WORDS = st.lists(st.sampled_from("abc"), max_size=15).map(" ".join)


def test_share_of_runs() -> None:
    recited = Recited([_ROW, "Another row of words."])
    assert recited.share(_ROW) == recited.share(_ROW.upper().replace(",", " -")) == 1.0
    assert recited.share("the quick brown fox jumps over the lazy cat") == pytest.approx(1 / 2)
    assert recited.share("quick the brown fox jumps over the lazy dog") == 0.0
    assert recited.share("the quick brown fox") is recited.share("") is None  # shorter than a run


def test_longest() -> None:
    recited = Recited([_ROW], n=3)
    assert recited.longest("Say: the quick brown fox jumps, or a dog as it has been") == 5
    assert recited.longest("dog as it") == 3
    assert recited.longest("the fox") == recited.longest("") == 0


def test_runs_do_not_span_rows() -> None:
    assert Recited(["a b", "c d"], n=3).share("a b c d") == 0.0


def test_without_rows() -> None:
    assert Recited([]).share(_ROW) == Recited([]).longest(_ROW) == 0


def test_a_run_has_a_word() -> None:
    with pytest.raises(ValueError, match="at least one word, not 0"):
        Recited([], n=0)


@given(st.lists(_WORDS, max_size=4), _WORDS, st.integers(1, 4))
def test_as_a_set_of_runs_has_it(rows: list[str], text: str, n: int) -> None:
    def runs(words: list[str]) -> list[tuple[str, ...]]:
        return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]

    known, asked = {run for row in rows for run in runs(row.split())}, runs(text.split())
    expected = sum(run in known for run in asked) / len(asked) if asked else None
    assert Recited(rows, n).share(text) == (expected if expected is None else pytest.approx(expected))


@given(st.lists(st.text(st.characters(), max_size=30), max_size=3), st.text(st.characters(), max_size=60))
def test_any_text_has_a_share(rows: list[str], text: str) -> None:
    recited = Recited([*rows, text], n=2)
    assert recited.share(text) in (None, 1.0)
    assert recited.longest(text) >= 0


def test_eight_bytes_a_run() -> None:
    """2,000 rows of 60 words: 106,000 runs."""
    draw = random.Random(1)
    words = [str(draw.random()) for _ in range(500)]
    rows = [" ".join(draw.choices(words, k=30)) for _ in range(2000)]  # each number is two words
    recited = Recited(rows)
    assert recited._seen.nbytes == 8 * 2000 * (60 - 7)  # pyright: ignore[reportPrivateUsage]
    assert recited.share(rows[7]) == 1.0
