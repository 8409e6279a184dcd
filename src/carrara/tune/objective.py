"""The loss: summed cross-entropy of the supervised tokens, its logits never held whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrara.data.render.batches import Tensors
from carrara.models.forward import decoder_of, project

if TYPE_CHECKING:
    import torch

_CHUNK = 1024  # supervised positions whose logits exist at once


def summed_loss(network: Any, tensors: Tensors) -> torch.Tensor:
    """Summed negative log-likelihood in nats of the supervised tokens, a float32 scalar with a gradient.

    The head, a fifth of a small model's arithmetic, runs on supervised positions only.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    hidden = decoder_of(network)(input_ids=tensors.ids, use_cache=False).last_hidden_state
    learned = hidden.flatten(0, 1).index_select(0, tensors.positions)
    if learned.shape[0] <= _CHUNK:
        return _chunk_loss(network, learned, tensors.targets)
    total = torch.zeros((), device=learned.device)
    for rows, targets in zip(learned.split(_CHUNK), tensors.targets.split(_CHUNK), strict=True):
        total = total + checkpoint(_chunk_loss, network, rows, targets, use_reentrant=False)
    return total


def _chunk_loss(network: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.cross_entropy(project(network, hidden), targets, reduction="sum")
