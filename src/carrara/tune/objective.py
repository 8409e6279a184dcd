"""The loss: summed cross-entropy of the supervised tokens, its logits never held whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from carrara.data.render.batches import Tensors
from carrara.models.forward import LOGITS_AT_ONCE, hidden_states, project
from carrara.tune.sharded import gathered

if TYPE_CHECKING:
    import torch


_IN_CACHE = 16  # rows of logits that a processor turns into their gradient at once


def chunk_size(vocabulary: int, device: str) -> int:
    """The positions whose logits exist at once."""
    return max(16, LOGITS_AT_ONCE.get(device, LOGITS_AT_ONCE["cuda"]) // (4 * vocabulary))


def summed_loss(network: Any, tensors: Tensors) -> torch.Tensor:
    """Summed negative log-likelihood in nats of the supervised tokens, a float32 scalar."""
    return gathered(network, _summed_loss, tensors)


def _summed_loss(network: Any, tensors: Tensors) -> torch.Tensor:
    import torch

    learned = _states(network, tensors)
    total = torch.zeros((), device=learned.device)
    for states, targets in _chunks(network, learned, tensors.targets):
        total = total + _loss(network, states, targets)
    return total


def learn(network: Any, tensors: Tensors, scale: float) -> torch.Tensor:
    """Add the gradient of `scale` times the summed loss to the parameters; returns that loss, unscaled.

    The head goes forward and back chunk by chunk, so neither its logits nor their gradient ever exist whole and
    nothing is computed twice; then the gradient of the last hidden states goes through the rest of the network.
    """
    return gathered(network, _learn, tensors, scale)


def _learn(network: Any, tensors: Tensors, scale: float) -> torch.Tensor:
    import torch

    learned = _states(network, tensors)
    cut = learned.detach().requires_grad_()
    total = torch.zeros((), device=cut.device)
    for states, targets in _chunks(network, cut, tensors.targets):
        total += _learn_chunk(network, states, targets, scale)
    learned.backward(cut.grad)
    return total


def _learn_chunk(network: Any, states: torch.Tensor, targets: torch.Tensor, scale: float) -> torch.Tensor:
    logits = project(network, states)
    gradient, loss = into_gradient(logits.detach(), targets, scale)
    logits.backward(gradient)
    return loss


def into_gradient(logits: torch.Tensor, targets: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn logits `(n, vocabulary)` into `scale` times the gradient of their summed cross-entropy; gives that, too.

    In place, and computed in float32 whatever the logits are.
    """
    import torch

    total = torch.zeros((), device=logits.device)
    at_once = _IN_CACHE if logits.device.type == "cpu" else len(logits)
    for rows, right in zip(logits.split(at_once), targets[:, None].split(at_once), strict=True):
        logs = rows.float().log_softmax(-1)
        total -= logs.gather(1, right).sum()
        shares = logs.exp_().scatter_add_(1, right, torch.full_like(right, -1, dtype=logs.dtype))
        rows.copy_(shares.mul_(scale))
    return logits, total


def _states(network: Any, tensors: Tensors) -> torch.Tensor:
    """The last hidden states `(n, width)` that predict a supervised token: the head works on no others."""
    hidden = hidden_states(network, tensors.ids, positions=tensors.places, shared=tensors.shared)
    return hidden.flatten(0, 1).index_select(0, tensors.positions)


def _chunks(network: Any, states: torch.Tensor, targets: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """As few as may exist at once, of like size: each reads the whole head."""
    count = max(1, -(-len(states) // chunk_size(network.config.vocab_size, states.device.type)))
    return zip(states.tensor_split(count), targets.tensor_split(count), strict=True)


def _loss(network: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.cross_entropy(project(network, hidden).float(), targets, reduction="sum")
