"""Batches: every row once an epoch, resumable at any step, micro-batches within their tokens."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from carrara.data.render.batches import batches_from, count_steps, micro_batches, plan_epoch

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=120)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 3))
def test_an_epoch_holds_every_row_once(lengths: list[int], size: int, epoch: int) -> None:
    batches = plan_epoch(lengths, size, 7, epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == count_steps(len(lengths), size, 1)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 40))
def test_batches_can_begin_at_any_step(lengths: list[int], size: int, first: int) -> None:
    whole = list(islice(batches_from(lengths, size, 3, 0), first + 5))
    assert list(islice(batches_from(lengths, size, 3, first), 5)) == whole[first:]


@given(LENGTHS, st.integers(1, 500))
def test_micro_batches_stay_within_their_tokens(lengths: list[int], tokens: int) -> None:
    rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
    parts = micro_batches(rows, lengths, tokens)
    assert [row for part in parts for row in part] == rows
    assert all(len(part) == 1 or len(part) * max(lengths[row] for row in part) <= tokens for part in parts)


def test_rows_of_like_length_share_a_batch() -> None:
    lengths = [n % 97 + 3 for n in range(1600)]
    batches = plan_epoch(lengths, 16, 0, 0)
    padded = sum(max(lengths[row] for row in batch) * len(batch) for batch in batches)
    assert padded / sum(lengths) < 1.1
