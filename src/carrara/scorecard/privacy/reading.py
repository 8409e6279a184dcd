"""Rows as a model reads them: how unlikely it finds what was to be learned, and whether it would have said it itself.

A model that writes greedily says a text word for word if and only if each of its tokens is the likeliest one behind
those before it. So one forward pass tells, for every prefix at once, what would be extracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrara.data.render.example import Rendered
from carrara.errors import Refusal
from carrara.models.adapters import Adapted, switched_on
from carrara.models.forward import hidden_states, project
from carrara.models.load import Loaded
from carrara.models.passes import cut_by_length

if TYPE_CHECKING:
    import torch

_TOKENS = 2048  # padded, of one forward pass
_AT_ONCE = 256  # places whose logits exist at once


@dataclass(frozen=True)
class Read:
    """The mean loss of a row's learned tokens in nats, and for each whether it is the model's own choice."""

    loss: float
    said: tuple[bool, ...]


def read_rows(adapted: Adapted, rows: Sequence[Rendered]) -> list[Read]:
    """What the model makes of each row, in order; raises Refusal if its numbers are none."""

    def fits(count: int, longest: int) -> bool:
        return count * longest <= _TOKENS

    found: dict[int, Read] = {}
    with switched_on(adapted) as loaded:
        for places in cut_by_length([len(row.ids) for row in rows], fits):
            found |= zip(places, _read(loaded, [rows[place] for place in places]), strict=True)
    return [found[place] for place in range(len(rows))]


def _read(loaded: Loaded, rows: Sequence[Rendered]) -> list[Read]:
    import torch

    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[0] * (longest - len(row.ids))] for row in rows], device=loaded.device)
    learned = torch.tensor([[*row.supervised[1:], *[False] * (longest - len(row.ids) + 1)] for row in rows])
    with torch.inference_mode():
        hidden = hidden_states(loaded.network, ids)[learned.to(loaded.device)]
        targets = ids.roll(-1, dims=1)[learned.to(loaded.device)]
        losses, said = _compared(loaded, hidden, targets)
    if not bool(losses.isfinite().all()):
        raise Refusal("the model's losses are no numbers; its weights are damaged or overflow.")
    counts = [row.supervised_count - row.supervised[0] for row in rows]
    parts = zip(losses.split(counts), said.split(counts), strict=True)
    return [Read(float(loss.mean()), tuple(own.tolist())) for loss, own in parts]


def _compared(loaded: Loaded, hidden: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each target and whether it is the likeliest token, chunk by chunk."""
    import torch

    losses: list[torch.Tensor] = []
    said: list[torch.Tensor] = []
    for part, wanted in zip(hidden.split(_AT_ONCE), targets.split(_AT_ONCE), strict=True):
        logits = project(loaded.network, part).float()
        losses.append(torch.nn.functional.cross_entropy(logits, wanted, reduction="none").cpu())
        said.append((logits.argmax(dim=-1) == wanted).cpu())
    return torch.cat(losses), torch.cat(said)
