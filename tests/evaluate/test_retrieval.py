"""Retrieval by hand-worked examples."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.evaluate.retrieval import ndcg, recall

RANKED = ["a", "b", "c", "d"]


def test_recall_is_the_share_found_among_the_first() -> None:
    assert recall(RANKED, ["b"], 1) == 0
    assert recall(RANKED, ["b"], 2) == 1
    assert recall(RANKED, ["a", "c", "elsewhere"], 3) == pytest.approx(2 / 3)


def test_ndcg_weighs_gains_by_rank() -> None:
    assert ndcg(RANKED, {"a": 1.0}, 10) == 1
    assert ndcg(RANKED, {"b": 5.0}, 10) == pytest.approx(1 / math.log2(3))  # only its rank counts
    graded = (4 / math.log2(3) + 5 / math.log2(4)) / (5 + 4 / math.log2(3))
    assert ndcg(RANKED, {"b": 4.0, "c": 5.0}, 10) == pytest.approx(graded)
    assert ndcg(RANKED, {"d": 1.0}, 3) == 0
    assert ndcg(RANKED, {"a": 1.0, "b": 1.0, "c": 1.0}, 2) == 1  # the best ranking is cut as well


@given(st.permutations(RANKED), st.dictionaries(st.sampled_from(RANKED), st.floats(0.1, 5), min_size=1))
def test_no_ranking_beats_the_one_by_gain(ranked: list[str], gains: dict[str, float]) -> None:
    best = sorted(RANKED, key=lambda document: -gains.get(document, 0.0))
    assert 0 <= ndcg(ranked, gains, 3) <= ndcg(best, gains, 3) + 1e-12
    assert ndcg(best, gains, 3) == pytest.approx(1)
