"""Which rows are learned together, in which order, and their tensors. A function of lengths, seed and epoch."""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class Tensors:
    """Right-padded ids `(rows, longest)`; flat positions `(n,)` that predict, and their targets `(n,)`."""

    ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor


def collate(rows: Sequence[Rendered], device: torch.device) -> Tensors:
    """Tensors of some rows. Padding needs no mask: attention is causal and padding stands last."""
    import torch

    longest = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    positions: list[int] = []
    targets: list[int] = []
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        learned = [place for place, is_learned in enumerate(row.supervised) if is_learned and place]
        positions += [index * longest + place - 1 for place in learned]
        targets += [row.ids[place] for place in learned]
    return Tensors(ids.to(device), torch.tensor(positions, device=device), torch.tensor(targets, device=device))
