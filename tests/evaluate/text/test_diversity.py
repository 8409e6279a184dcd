"""Diversity and repetition of texts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.evaluate.text.diversity import (
    compression,
    distinct,
    distinct_among,
    factors_a_word,
    has_loop,
    repeated,
    self_bleu,
)


def test_distinct_counts_over_all_texts() -> None:
    assert distinct(["a b a", "b a"], 1) == pytest.approx(2 / 5)
    assert distinct(["a b a", "b a"], 2) == pytest.approx(2 / 3)  # ab, ba and ba; none spans two texts
    assert distinct(["The the THE, the."], 1) == pytest.approx(1 / 4)
    assert distinct(["a", ""], 2) == distinct([], 1) == 0.0


def test_distinct_among_a_budget_is_what_drawing_gives() -> None:
    """Of a a b, two drawn at random are aa in one of three cases and ab in two."""
    assert distinct_among(["a a", "b"], 1, 2) == pytest.approx((1 / 3 * 1 + 2 / 3 * 2) / 2)
    assert distinct_among(["a b a", "b a"], 2, 3) == pytest.approx(distinct(["a b a", "b a"], 2))
    draw = random.Random(3)
    words = draw.choices("abcdefgh", weights=range(1, 9), k=60)
    drawn = [len(set(draw.sample(words, 20))) / 20 for _ in range(4000)]
    assert distinct_among([" ".join(words)], 1, 20) == pytest.approx(sum(drawn) / 4000, abs=0.005)


def test_distinct_among_does_not_hang_on_length() -> None:
    draw = random.Random(4)
    words = draw.choices([f"w{n}" for n in range(50)], k=4000)
    short, long = distinct_among([" ".join(words[:400])], 1, 100), distinct_among([" ".join(words)], 1, 100)
    assert short == pytest.approx(long, abs=0.03)
    assert distinct([" ".join(words[:400])], 1) > 5 * distinct([" ".join(words)], 1)


def test_distinct_among_more_than_there_are_is_not_known() -> None:
    assert distinct_among(["a b c"], 1, 3) == pytest.approx(1.0)
    assert distinct_among(["a b c"], 1, 4) is distinct_among([], 2, 1) is None
    with pytest.raises(ValueError, match="at least one"):
        distinct_among(["a"], 1, 0)


def test_mtld_of_the_words_that_its_authors_count() -> None:
    """The example in McCarthy and Jarvis 2010: after "of the people by the people" four of six words are different."""
    assert factors_a_word(["of the people by the people"], 6) == pytest.approx(1 / 6)
    assert factors_a_word(["of the people by the people for the people"], 9) == pytest.approx(1 / 9)
    assert factors_a_word(["a b c a"], 4) == pytest.approx(0.25 / 0.28 / 4)  # no factor is full: a part of one
    assert factors_a_word(["a b c", "d e"], 5) == 0.0


def test_mtld_adds_up_the_words_and_factors_of_texts() -> None:
    full, part = "of the people by the people", "a b c a"
    assert factors_a_word([full, part], 10) == pytest.approx((1 + 0.25 / 0.28) / 10)


def test_the_more_words_come_again_the_higher() -> None:
    """Of four texts of 32 words, with none to four words that come again; the mean of MTLD would not be in order."""
    texts = [[f"{text}w{n}" for n in range(32)] for text in range(4)]
    found: list[float | None] = []
    for again in range(5):
        found.append(factors_a_word([" ".join(text) for text in texts], 48))
        if again < 4:
            texts[again][31] = texts[again][0]
    assert found == sorted(found, key=lambda each: each or 0.0)
    assert len(set(found)) == 5


def test_mtld_of_few_words_is_not_known() -> None:
    assert factors_a_word(["a b c", "d e"], 6) is factors_a_word([], 1) is None


def test_mtld_hardly_hangs_on_length() -> None:
    draw = random.Random(5)
    words = draw.choices([f"w{n}" for n in range(40)], k=3000)
    part, whole = (factors_a_word([" ".join(some)], 500) for some in (words[:500], words))
    assert part == pytest.approx(whole, rel=0.1)


def test_self_bleu() -> None:
    assert self_bleu(["the cat sat on the mat"] * 3) == pytest.approx(1.0)
    assert self_bleu(["a b c d", "e f g h"]) == 0.0
    assert self_bleu(["alone"]) == self_bleu([]) == 0.0


def test_self_bleu_of_many_takes_the_same_few() -> None:
    texts = ["the cat sat on the mat", *(f"{n} words of no other text {n}" for n in range(9))] * 2
    assert self_bleu(texts, at_most=2) == pytest.approx(1.0)  # the first and the eleventh
    assert self_bleu(texts, at_most=5) < 0.5  # five that differ


def test_repeated() -> None:
    assert repeated("a b c d e f") == 0.0
    assert repeated("a b c d a b c d") == pytest.approx(1 - 4 / 5)
    assert repeated("a a a a", n=1) == pytest.approx(3 / 4)
    assert repeated("too short here") == repeated("") == 0.0


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("I am happy. I am happy. I am happy.", True),
        ("It began well, but I am so glad, I am so glad; I am so glad and then it ended.", True),
        ("I am happy. I am happy. I am sad.", False),
        ("no, no, no!", False),
        ("no " * 8, False),
        ("no " * 9, True),
        ("tick tock " * 5, False),
        ("tick tock " * 6, True),
        ("", False),
        ("one two", False),
    ],
)
def test_has_loop(text: str, loops: bool) -> None:
    assert has_loop(text) is loops


def _has_loop_by_trying(words: list[str]) -> bool:
    return any(
        words[start : start + 2 * length] == words[start + length : start + 3 * length]
        for length in range(3, len(words) // 3 + 1)
        for start in range(len(words) - 3 * length + 1)
    )


def test_a_loop_is_found_wherever_it_stands() -> None:
    draw, found = random.Random(3), 0
    for _ in range(3000):
        words = draw.choices("ab", k=draw.randint(0, 24))
        assert has_loop(" ".join(words)) is _has_loop_by_trying(words)
        found += has_loop(" ".join(words))
    assert 100 < found < 1500


def test_a_long_text_is_quick_to_search() -> None:
    """No loop in 20,000 words: a search of every start for every length would compare a hundred million."""
    draw = random.Random(5)
    assert not has_loop(" ".join(draw.choices(["the", "of", "and", "to", "in", "is", "was", "he"], k=20_000)))


def test_compression() -> None:
    draw = random.Random(7)
    varied = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz ", k=200)) for _ in range(20)]
    assert compression([varied[0]] * 20) > 10 > 2 > compression(varied) > 1
    assert compression([]) == compression([""]) == 1.0


@given(st.lists(st.text(st.characters(), max_size=40), max_size=5), st.integers(1, 5))
def test_any_texts_have_shares(texts: list[str], n: int) -> None:
    assert 0.0 <= distinct(texts, n) <= 1.0
    assert 0.0 <= self_bleu(texts) <= 1.0
    assert (factors_a_word(texts, 3) is None) == (distinct_among(texts, 1, 3) is None)
    among = distinct_among(texts, n, 3)
    assert among is None or 1 / 3 - 1e-9 <= among <= 1.0 + 1e-9
    assert compression(texts) > 0.0
    for text in texts:
        assert 0.0 <= repeated(text, n) < 1.0
        assert isinstance(has_loop(text), bool)


@given(st.integers(1, 30), st.integers(1, 4))
def test_one_repeated_word(times: int, n: int) -> None:
    grams = max(0, times - n + 1)
    assert distinct(["word " * times], n) == pytest.approx(1 / grams if grams else 0.0)
    assert repeated("word " * times, n) == pytest.approx(1 - 1 / grams if grams else 0.0)
    assert has_loop("word " * times) is (times >= 9)
