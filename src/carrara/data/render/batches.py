"""Which rows are learned together, in which order, and their tensors. A function of lengths, seed and epoch."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrara.data.render.example import Rendered

if TYPE_CHECKING:
    import torch

_POOL = 16  # batches that are sorted by length together: little padding, and still a fresh mix each epoch


def plan_epoch(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch as row indexes; rows of like length share a batch, batches come in random order."""
    import random

    chance = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    chance.shuffle(order)
    pool = batch_size * _POOL
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda row: lengths[row])
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    chance.shuffle(batches)
    return batches


def count_steps(rows: int, batch_size: int, epochs: float) -> int:
    """Optimizer steps of a run; a part of an epoch counts in whole batches."""
    return max(1, math.ceil(epochs * _batches_in_epoch(rows, batch_size)))


def _batches_in_epoch(rows: int, batch_size: int) -> int:
    pool = batch_size * _POOL
    full, rest = divmod(rows, pool)
    return full * _POOL + math.ceil(rest / batch_size)


def batches_from(lengths: Sequence[int], batch_size: int, seed: int, first_step: int) -> Iterator[list[int]]:
    """The endless series of batches over all epochs, beginning at a step."""
    epoch, skip = divmod(first_step, _batches_in_epoch(len(lengths), batch_size))
    while True:
        yield from plan_epoch(lengths, batch_size, seed, epoch)[skip:]
        epoch, skip = epoch + 1, 0


def passes(batch: Sequence[int], lengths: Sequence[int], tokens: int, packed: bool) -> list[list[int]]:
    """Cut a batch into passes of at most `tokens` places: padded rows side by side, or packed into one window."""
    return pack(batch, lengths, tokens) if packed else micro_batches(batch, lengths, tokens)


def micro_batches(batch: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Cut a batch so that rows times the longest row stays within `tokens`; one row always passes."""
    parts: list[list[int]] = []
    longest = 0
    for row in batch:
        longest = max(longest, lengths[row])
        if parts and longest * (len(parts[-1]) + 1) <= tokens:
            parts[-1].append(row)
        else:
            parts.append([row])
            longest = lengths[row]
    return parts


def pack(batch: Sequence[int], lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Put rows into windows of `tokens` places, the longest first, each into the fullest that holds it.

    Best-fit-decreasing (Johnson 1974); a row longer than `tokens` has a window to itself.
    """
    windows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # places left and the window that has them, ascending
    for row in sorted(batch, key=lambda row: -lengths[row]):
        place = bisect_left(rooms, (lengths[row], -1))
        room, window = rooms.pop(place) if place < len(rooms) else (tokens, len(windows))
        if window == len(windows):
            windows.append([])
        windows[window].append(row)
        insort(rooms, (room - lengths[row], window))
    return windows


@dataclass(frozen=True)
class Tensors:
    """Right-padded ids `(windows, longest)`; flat positions `(n,)` that predict, and their targets `(n,)`.

    `places`, of the shape of `ids`, counts from 0 in each row where rows share a window, and is None elsewhere.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    places: torch.Tensor | None = None


def collate(rows: Sequence[Rendered], device: torch.device, packed: bool = False) -> Tensors:
    """Tensors of some rows, each a line of its own or all in one window.

    Padding needs no mask: attention is causal and padding stands last. Rows that share a window are told apart by
    their places, from which the network makes its mask.
    """
    import torch

    windows = [rows] if packed else [[row] for row in rows]
    longest = max(sum(len(row.ids) for row in window) for window in windows)
    ids = torch.zeros(len(windows), longest, dtype=torch.long)
    places = torch.zeros_like(ids)
    positions: list[int] = []
    targets: list[int] = []
    for index, window in enumerate(windows):
        start = 0
        for row in window:
            end = start + len(row.ids)
            ids[index, start:end] = torch.tensor(row.ids)
            places[index, start:end] = torch.arange(len(row.ids))
            learned = [place for place, is_learned in enumerate(row.supervised) if is_learned and place]
            positions += [index * longest + start + place - 1 for place in learned]
            targets += [row.ids[place] for place in learned]
            start = end
    return Tensors(
        ids.to(device),
        torch.tensor(positions, device=device),
        torch.tensor(targets, device=device),
        places.to(device) if packed and len(rows) > 1 else None,
    )
