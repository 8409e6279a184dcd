"""Which rows are learned together, in which order, and their tensors. A function of lengths, seed and epoch."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrara.data.render.example import Rendered
from carrara.models.forward import Shared

if TYPE_CHECKING:
    import torch

_WORTH = 8  # one place saved in so many pays for taking rows apart
_ATTENDED = 4  # keys of a pass for each of its places, at most: each row has those of a shared opening
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


def shared_opening(rows: Sequence[Rendered]) -> int:
    """The tokens that all rows begin with and a pass computes once; 0 where that would save too little."""
    opening = common_opening(rows)
    return opening if _WORTH * opening * (len(rows) - 1) >= sum(len(row.ids) for row in rows) else 0


def common_opening(rows: Sequence[Rendered]) -> int:
    """How many tokens all rows begin with, so a system prompt; each keeps one of its own."""
    least = min(rows, key=lambda row: row.ids).ids  # what the first and the last in order share, all share
    most = max(rows, key=lambda row: row.ids).ids
    alike = next((place for place, pair in enumerate(zip(least, most)) if pair[0] != pair[1]), len(least))
    return min(alike, *(len(row.ids) - 1 for row in rows))


def passes(
    batch: Sequence[int], lengths: Sequence[int], tokens: int, packed: bool, opening: int = 0
) -> list[list[int]]:
    """Cut a batch into passes of at most `tokens` places: padded rows side by side, or packed into one window.

    `opening` tokens are the same in all rows and stand in a pass once; packed rows share nothing.
    """
    return pack(batch, lengths, tokens) if packed else micro_batches(batch, lengths, tokens, opening)


def micro_batches(batch: Sequence[int], lengths: Sequence[int], tokens: int, opening: int = 0) -> list[list[int]]:
    """Cut a batch so that its places, rows times the longest row, stay within `tokens`; one row always passes.

    An `opening` that rows share counts once, but for the keys and values that each of them attends to.
    """
    parts: list[list[int]] = []
    longest = 0
    for row in batch:
        longest = max(longest, lengths[row])
        rows = len(parts[-1]) + 1 if parts else 1
        fits = opening + (longest - opening) * rows <= tokens and longest * rows <= _ATTENDED * tokens
        if parts and fits:
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

    `places`, of the shape of `ids`, counts from 0 in each row where rows share a window, and is None elsewhere. With
    `shared`, the window holds what all rows begin with, once, and then what is each row's own, padded.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    places: torch.Tensor | None = None
    shared: Shared | None = None


def collate(rows: Sequence[Rendered], device: torch.device, packed: bool = False, opening: int = 0) -> Tensors:
    """Tensors of some rows: each a line of its own, all in one window, or all behind their `opening` tokens.

    Padding needs no mask: attention is causal and padding stands last. Rows that share a window are told apart by
    their places, from which the network makes its mask.
    """
    import torch

    if opening and len(rows) > 1 and not packed:
        return _behind(opening, rows, device)
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
            learned = _learned(row)
            positions += [index * longest + start + place - 1 for place in learned]
            targets += [row.ids[place] for place in learned]
            start = end
    return Tensors(
        ids.to(device),
        torch.tensor(positions, device=device),
        torch.tensor(targets, device=device),
        places.to(device) if packed and len(rows) > 1 else None,
    )


def _behind(opening: int, rows: Sequence[Rendered], device: torch.device) -> Tensors:
    import torch

    own = max(len(row.ids) for row in rows) - opening
    ids = torch.zeros(opening + len(rows) * own, dtype=torch.long)
    ids[:opening] = torch.tensor(rows[0].ids[:opening])
    places = torch.cat([torch.arange(opening), torch.arange(opening, opening + own).repeat(len(rows))])
    positions: list[int] = []
    targets: list[int] = []
    for index, row in enumerate(rows):
        before = index * own  # places of other rows between the opening and this row's own
        ids[before + opening : before + len(row.ids)] = torch.tensor(row.ids[opening:])
        learned = _learned(row)
        positions += [place - 1 if place <= opening else before + place - 1 for place in learned]
        targets += [row.ids[place] for place in learned]
    return Tensors(
        ids[None].to(device),
        torch.tensor(positions, device=device),
        torch.tensor(targets, device=device),
        places[None].to(device),
        Shared(opening, len(rows)),
    )


def _learned(row: Rendered) -> list[int]:
    """The places of a row that are predicted and learned."""
    return [place for place, is_learned in enumerate(row.supervised) if is_learned and place]
