"""Which texts share a pass, and what they begin with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carrara.models.passes import common_start, cut_by_length

LENGTHS = st.lists(st.integers(1, 40), max_size=30)
TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=5)


@given(lengths=LENGTHS, budget=st.integers(1, 100))
def test_every_text_is_in_one_pass_and_none_is_larger_than_allowed(lengths: list[int], budget: int) -> None:
    passes = cut_by_length(lengths, lambda rows, longest: rows * longest <= budget)
    assert sorted(place for places in passes for place in places) == list(range(len(lengths)))
    for places in passes:
        assert len(places) == 1 or len(places) * max(lengths[place] for place in places) <= budget
    in_order = [lengths[place] for places in passes for place in places]
    assert in_order == sorted(in_order)


@given(texts=TEXTS)
def test_what_is_shared_is_the_longest_start_of_all(texts: list[list[int]]) -> None:
    most = min(map(len, texts))
    shared = common_start(texts, most)
    assert all(text[:shared] == texts[0][:shared] for text in texts)
    assert shared == most or len({text[shared] for text in texts}) > 1
