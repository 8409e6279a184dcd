import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.data.checks.duplicates import Near, UnionFind, cluster, exact_key, find_near, prompt_key
from carrara.data.checks.minhash import jaccard, normalise, shingles, similarity, sketch

TEXTS = st.text(max_size=12) | st.text(alphabet="ab ,", max_size=12)


def words(draw: random.Random, count: int) -> list[str]:
    return ["".join(draw.choices("abcdefghijklmnopqrst", k=draw.randrange(2, 9))) for _ in range(count)]


def edited(draw: random.Random, text: list[str], edits: int, vocabulary: list[str]) -> list[str]:
    """Some words replaced, removed or put in."""
    text = list(text)
    for _ in range(edits):
        place = draw.randrange(len(text))
        text[place : place + draw.choice((0, 1, 1))] = draw.choice(([], [draw.choice(vocabulary)]))
    return text


def brute_force(texts: list[str], least: float) -> dict[tuple[int, int], float]:
    sides = [shingles(text) for text in texts]
    found = {}
    for a, b in combinations(range(len(texts)), 2):
        alike = max(similarity(*side) for side in zip(sides[a], sides[b]))
        if alike >= least:
            found[a, b] = alike
    return found


def found_in(texts: list[str], threshold: float = 0.8) -> list[Near]:
    return find_near(sketch(texts), texts.__getitem__, threshold)


def clusters_of(texts: list[str], near: list[Near]) -> set[frozenset[str]]:
    representatives = cluster(len(texts), [(pair.first, pair.second) for pair in near])
    return {frozenset(texts[i] for i in np.flatnonzero(representatives == root)) for root in np.unique(representatives)}


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9])
def test_recall_and_precision_against_every_pair_compared(threshold: float) -> None:
    draw = random.Random(7)
    vocabulary = words(draw, 2_000)
    rows = [draw.choices(vocabulary, k=draw.randrange(20, 120)) for _ in range(300)]
    rows += [edited(draw, row, draw.randrange(1, 3 + len(row) // 8), vocabulary) for row in rows]
    texts = [" ".join(row) for row in draw.sample(rows, len(rows))]
    true = brute_force(texts, 0.7)
    near_the_threshold = sum(abs(alike - threshold) < 0.05 for alike in true.values())
    wanted = {pair for pair, alike in true.items() if alike >= threshold}
    near = found_in(texts, threshold)
    reported = {(pair.first, pair.second) for pair in near}
    assert near_the_threshold >= 15
    assert len(wanted & reported) / len(wanted) >= 0.98
    assert len(wanted & reported) / len(reported) == 1.0
    assert all(pair.jaccard == jaccard(texts[pair.first], texts[pair.second]) for pair in near)


def test_texts_without_spaces_are_found_by_their_characters() -> None:
    draw = random.Random(2)
    texts = ["".join(chr(draw.randrange(0x4E00, 0x6E00)) for _ in range(90)) for _ in range(200)]
    texts += [text[:40] + "们" + text[41:] for text in texts]
    assert {(pair.first, pair.second) for pair in found_in(texts)} == {(i, i + 200) for i in range(200)}


def test_numbers_that_differ_in_a_long_problem_and_in_a_short_one() -> None:
    long = "A train travels {} miles in 3 hours. At the same rate, how many hours would it take to travel 180 miles?"
    texts = [long.format(270), long.format(360), "What is 12 + 7?", "What is 12 + 8?", "What is 12 - 7?"]
    assert [(pair.first, pair.second) for pair in found_in(texts)] == [(0, 1)]


@given(st.lists(TEXTS, max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_equal_texts_are_found_and_the_order_of_rows_does_not_matter(texts: list[str], draw: random.Random) -> None:
    texts = [*texts, *(f" {text.upper()} " for text in texts[:4])]
    near = found_in(texts)
    representatives = cluster(len(texts), [(pair.first, pair.second) for pair in near])
    for a, b in combinations(range(len(texts)), 2):
        if normalise(texts[a]) == normalise(texts[b]):
            assert representatives[a] == representatives[b]
    shuffled = draw.sample(texts, len(texts))
    assert clusters_of(texts, near) == clusters_of(shuffled, found_in(shuffled))


def test_ten_thousand_copies_are_read_once_each() -> None:
    calls: list[int] = []
    texts = ["the first of two texts", "THE SECOND, quite another"] * 5_000

    def text_of(row: int) -> str:
        calls.append(row)
        return texts[row]

    near = find_near(sketch(texts), text_of)
    assert near == [Near(row % 2, row, 1.0) for row in sorted(range(2, 10_000), key=lambda row: (row % 2, row))]
    assert len(calls) == 10_000


@pytest.mark.parametrize("shared", [60, 78])  # similarities of some 0.45 and 0.65
def test_a_form_letter_neither_merges_its_rows_nor_hides_copies_among_them(shared: int) -> None:
    draw = random.Random(shared)
    vocabulary = words(draw, 5_000)
    letter = draw.choices(vocabulary, k=shared)
    rows = [letter[:30] + draw.choices(vocabulary, k=100 - shared) + letter[30:] for _ in range(1_500)]
    for copy in range(0, 200, 2):
        rows[copy + 1] = edited(draw, rows[copy], 2, vocabulary)
    texts = [" ".join(row) for row in rows]
    calls = 0

    def text_of(row: int) -> str:
        nonlocal calls
        calls += 1
        return texts[row]

    reported = {(pair.first, pair.second) for pair in find_near(sketch(texts), text_of)}
    planted = {(copy, copy + 1) for copy in range(0, 200, 2)}
    assert reported <= planted
    assert len(reported) >= 98
    assert calls <= 5_000


def test_a_crowd_of_near_copies_is_one_cluster_without_every_pair() -> None:
    draw = random.Random(3)
    vocabulary = words(draw, 5_000)
    letter = draw.choices(vocabulary, k=100)
    texts = [" ".join([*letter[:50], *draw.choices(vocabulary, k=3), *letter[50:]]) for _ in range(2_000)]
    near = found_in(texts)
    assert clusters_of(texts, near) == {frozenset(texts)}
    assert len(near) < 50 * len(texts)


def test_sketches_on_disk(tmp_path: Path) -> None:
    texts = [f"row number {i} says something of its own {i * i}" for i in range(50)] + ["row number 7, says something"]
    texts.append(texts[7] + "!")
    np.save(tmp_path / "sketches.npy", sketch(texts))
    on_disk = np.load(tmp_path / "sketches.npy", mmap_mode="r")
    assert find_near(on_disk, texts.__getitem__) == found_in(texts)
    assert Near(7, 51, 1.0) in found_in(texts)


def test_no_rows() -> None:
    assert found_in([]) == []


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30), st.randoms(use_true_random=False))
def test_the_smallest_row_represents_its_cluster(edges: list[tuple[int, int]], draw: random.Random) -> None:
    representatives = cluster(20, edges)
    assert np.array_equal(representatives, cluster(20, draw.sample(edges, len(edges))))
    together = UnionFind(20)
    for a, b in edges:
        together.union(a, b)
        assert representatives[a] == representatives[b]
    for row in range(20):
        members = np.flatnonzero(representatives == representatives[row])
        assert representatives[row] == members[0] == together.find(row)
        assert together.size(row) == len(members)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("one\r\ntwo  \n", "one\ntwo", True),
        ("cafe\u0301", "café", True),
        ("one \t\n\ntwo", "one\n\ntwo", True),
        ("One", "one", False),
        ("if x:\n    y", "if x:\n  y", False),
        ("\ud800", "\ud801", False),
    ],
)
def test_exact_duplicates(a: str, b: str, equal: bool) -> None:
    assert (exact_key([a]) == exact_key([b])) is equal


def test_keys_are_the_same_everywhere() -> None:
    assert exact_key(["one\ntwo"]) == 11277891812062741947  # the first 8 bytes of blake2b, little end first
    assert prompt_key(" What is 2 + 2 ?") == prompt_key("what is 2 + 2") != prompt_key("what is 2 - 2")
    assert 0 <= prompt_key("") < 1 << 64
