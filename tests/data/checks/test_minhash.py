import random
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.data.checks.minhash import PERMUTATIONS, jaccard, normalise, shingles, similarity, sketch

POEM = "Half a league, half a league, half a league onward, all in the valley of Death rode the six hundred."
DIGEST = "0e6fc72e30d4feae"
TEXTS = st.text(max_size=60) | st.text(alphabet="ab ,", max_size=30)


def by_strings(a: str, b: str) -> float:
    """The definition, with sets of strings."""
    a, b = normalise(a), normalise(b)
    found = []
    for pieces in (_word_pieces, _character_pieces):
        found.append(len(pieces(a) & pieces(b)) / len(pieces(a) | pieces(b)))
    return max(found)


def _word_pieces(text: str) -> set[str]:
    words = text.split(" ")
    return {" ".join(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def _character_pieces(text: str) -> set[str]:
    padded = "\0" * 4 + text + "\0" * 4
    return {padded[i : i + 5] for i in range(len(text) + 4)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Hello,\tWORLD!\r\n", "hello world"),
        ("Straße ＡＢＣ ﬁne", "strasse abc fine"),
        ("don’t “quote” — me…", "don t quote me"),
        ("12 - 7", "12 - 7"),
        ("12 * 7", "12 * 7"),
        ("C# and C++", "c# and c++"),
        ("co\u00adope\u200brate", "cooperate"),
        ("हिन्दी, में", "हिन्दी में"),
        ("今天，天气很好。", "今天 天气很好"),
        ("😀!", "😀"),
        ("?!\n ...", "?! ..."),
        ("", ""),
    ],
)
def test_normalisation_drops_how_a_text_is_set_and_keeps_what_it_says(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(TEXTS, TEXTS)
def test_similarity_is_that_of_the_definition_symmetric_and_a_share(a: str, b: str) -> None:
    assert jaccard(a, b) == by_strings(a, b) == jaccard(b, a)
    assert 0 <= jaccard(a, b) <= 1
    assert jaccard(a, a) == 1


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("", "a", 0.0),
        ("😀", "😢", 0.0),
        ("What is 12 + 7?", "What is 12 - 7?", 13 / 23),
        ("What is 12 + 7?", "What is 12 + 8?", 13 / 23),
        ("good film", "Good film!", 1.0),
        ("今天天气很好我们去公园散步吧", "今天天气很好我们去公园散步吗", 13 / 23),
    ],
)
def test_short_texts(a: str, b: str, expected: float) -> None:
    assert jaccard(a, b) == pytest.approx(expected)


def test_a_long_unbroken_insertion_is_forgiven_by_the_words() -> None:
    a = " ".join(f"word{i}" for i in range(60))
    b = a.replace("word30", "id" + "".join(str(i * i) for i in range(40)))
    (words_a, characters_a), (words_b, characters_b) = shingles(a), shingles(b)
    assert similarity(words_a, words_b) == 55 / 61
    assert similarity(characters_a, characters_b) < 0.75
    assert jaccard(a, b) == 55 / 61


@given(st.lists(TEXTS, max_size=8), st.integers(0, 8))
def test_a_sketch_does_not_depend_on_the_texts_beside_it(texts: list[str], cut: int) -> None:
    whole = sketch(texts)
    assert whole.shape == (len(texts), 2, PERMUTATIONS)
    assert whole.dtype == np.uint32
    assert np.array_equal(whole, np.concatenate((sketch(texts[:cut]), sketch(texts[cut:]))))


def test_many_blocks_and_a_text_of_a_megabyte() -> None:
    texts = [POEM, POEM * 10_000, "", *[f"{POEM} {i}" for i in range(2_000)], POEM]
    made = sketch(texts)
    assert np.array_equal(made[0], made[-1])
    assert np.array_equal(made[700], sketch([texts[700]])[0])


def test_a_sketch_is_the_same_in_every_process() -> None:
    command = f"from carrara.data.checks.minhash import sketch; print(sketch([{POEM!r}]).tobytes().hex())"
    printed = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout
    assert bytes.fromhex(printed) == sketch([POEM]).tobytes()
    assert sha256(sketch([POEM]).astype("<u4").tobytes()).hexdigest()[:16] == DIGEST


def test_equal_numbers_in_two_sketches_estimate_the_similarity_without_bias() -> None:
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randrange(2, 9))) for _ in range(3_000)]
    pairs = []
    for _ in range(400):
        text = draw.choices(words, k=80)
        edited = list(text)
        for _ in range(draw.randrange(1, 12)):
            edited[draw.randrange(80)] = draw.choice(words)
        pairs.append((" ".join(text), " ".join(edited)))
    first, second = (sketch(side) for side in zip(*pairs))
    true = [[similarity(*side) for side in zip(shingles(a), shingles(b))] for a, b in pairs]
    errors = (first == second).mean(axis=2) - np.array(true)
    assert np.abs(errors.mean(axis=0)).max() < 0.007  # three standard errors of a mean of 400
    assert errors.std(axis=0).max() < 0.05  # that of an ideal permutation is 0.045
