"""Batches: every row once an epoch, resumable at any step, micro-batches within their tokens."""

from __future__ import annotations

from itertools import islice

import torch
from hypothesis import given
from hypothesis import strategies as st

from carrara.data.render.batches import (
    batches_from,
    collate,
    count_steps,
    micro_batches,
    pack,
    plan_epoch,
    shared_opening,
)  # fmt: skip
from carrara.data.render.example import Rendered
from carrara.models.forward import Shared

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


@given(LENGTHS, st.integers(1, 500), st.integers(0, 40))
def test_micro_batches_stay_within_their_tokens(lengths: list[int], tokens: int, opening: int) -> None:
    opening = min(opening, *(length - 1 for length in lengths))
    rows = sorted(range(len(lengths)), key=lambda row: lengths[row])
    parts = micro_batches(rows, lengths, tokens, opening)
    assert [row for part in parts for row in part] == rows
    for part in parts:
        places = opening + len(part) * (max(lengths[row] for row in part) - opening)
        assert len(part) == 1 or places <= tokens
        assert len(part) == 1 or len(part) * max(lengths[row] for row in part) <= 4 * tokens  # keys


def test_rows_of_like_length_share_a_batch() -> None:
    lengths = [n % 97 + 3 for n in range(1600)]
    batches = plan_epoch(lengths, 16, 0, 0)
    padded = sum(max(lengths[row] for row in batch) * len(batch) for batch in batches)
    assert padded / sum(lengths) < 1.1


@given(LENGTHS, st.integers(1, 500))
def test_windows_hold_every_row_once_and_stay_within_their_places(lengths: list[int], tokens: int) -> None:
    windows = pack(range(len(lengths)), lengths, tokens)
    assert sorted(row for window in windows for row in window) == list(range(len(lengths)))
    assert all(len(window) == 1 or sum(lengths[row] for row in window) <= tokens for window in windows)
    least = -(-sum(min(length, tokens) for length in lengths) // tokens)
    assert len(windows) <= 11 / 9 * least + 4 + sum(length > tokens / 3 for length in lengths)


def test_each_row_goes_into_the_fullest_window_that_holds_it() -> None:
    assert pack([0, 1, 2, 3, 4], [6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]


def test_rows_in_a_window_keep_their_places_and_targets() -> None:
    rows = [Rendered((5, 6, 7), (False, True, True), 1, ""), Rendered((8, 9), (False, True), 2, "")]
    tensors = collate(rows, torch.device("cpu"), packed=True)
    assert tensors.ids.tolist() == [[5, 6, 7, 8, 9]]
    assert tensors.places is not None
    assert tensors.places.tolist() == [[0, 1, 2, 0, 1]]
    assert (tensors.positions.tolist(), tensors.targets.tolist()) == ([0, 1, 3], [6, 7, 9])
    padded = collate(rows, torch.device("cpu"))
    assert padded.places is None
    assert padded.ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert (padded.positions.tolist(), padded.targets.tolist()) == ([0, 1, 3], [6, 7, 9])


def test_what_rows_begin_with_stands_in_a_pass_once() -> None:
    rows = [
        Rendered((5, 6, 7, 8), (False, False, True, True), 1, ""),
        Rendered((5, 6, 9), (False, False, True), 2, ""),
        Rendered((5, 6, 7, 7, 8), (False, False, False, True, True), 3, ""),
    ]
    assert shared_opening(rows) == 2
    tensors = collate(rows, torch.device("cpu"), opening=2)
    assert tensors.shared == Shared(2, 3)
    assert tensors.ids.tolist() == [[5, 6, 7, 8, 0, 9, 0, 0, 7, 7, 8]]
    assert tensors.places is not None
    assert tensors.places.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4]]
    assert (tensors.positions.tolist(), tensors.targets.tolist()) == ([1, 2, 1, 8, 9], [7, 8, 9, 7, 8])
    assert collate(rows[:1], torch.device("cpu"), opening=2).shared is None


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=2, max_size=6))
def test_an_opening_is_what_all_rows_begin_with(ids: list[list[int]]) -> None:
    rows = [Rendered(tuple(each), (False,) * len(each), 0, "") for each in ids]
    opening = shared_opening(rows)
    assert len({row.ids[:opening] for row in rows}) == 1
    assert opening < min(len(row.ids) for row in rows)
    longer = len({row.ids[: opening + 1] for row in rows}) == 1 and opening + 1 < min(len(row.ids) for row in rows)
    assert not (opening and longer)


def test_a_short_opening_of_long_rows_is_not_worth_it() -> None:
    rows = [Rendered((1, *range(place, place + 99)), (False,) * 100, 0, "") for place in (10, 20, 30)]
    assert shared_opening(rows) == 0
