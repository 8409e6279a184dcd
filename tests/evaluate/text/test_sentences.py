"""Counting sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.evaluate.text.sentences import count_sentences


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (" ?", 1),
        ("No mark at all", 1),
        ("One. Two! Three? Four", 4),
        ("One... two. Three… four!", 2),
        ('He said: "Go." Then he went.', 2),
        ("It costs 3.50 at example.com today.", 1),
        ("Dr. Smith met Mr. J. Brown at 5 p.m. on Monday.", 1),
        ("Bring apples, pears, etc. and go.", 1),
        ("Line one\nline two\n\nline three", 1),
        ("今日は晴れです。明日は雨ですか？はい。", 3),
        ("यह एक वाक्य है। यह दूसरा है।", 2),
        ("Really?! Yes.", 2),
        ("1. First.\n2. Second.", 4),  # the numbers of a list count, as for nltk
        ("all in small letters. no capitals. none", 3),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert count_sentences(text) == count


@given(st.text(st.characters(), max_size=200))
def test_any_text_has_a_count(text: str) -> None:
    assert 0 <= count_sentences(text) <= len(text)


def test_a_long_row_of_marks_is_quick() -> None:
    assert count_sentences("." * 50_000 + "x") == 1
    assert count_sentences(". " * 20_000) == 20_000
