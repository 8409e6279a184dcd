"""The loss: summed cross-entropy of the supervised tokens, its logits never held whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from carrara.data.render.batches import Tensors
from carrara.models.forward import LOGITS_AT_ONCE, hidden_states, project
from carrara.tune.sharded import gathered

if TYPE_CHECKING:
    import torch


def chunk_size(vocabulary: int, device: str) -> int:
    """The positions whose logits exist at once; their gradient and a copy or two stand beside them."""
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
        loss = _loss(network, states, targets)
        (loss * scale).backward()
        total += loss.detach()
    learned.backward(cut.grad)
    return total


def _states(network: Any, tensors: Tensors) -> torch.Tensor:
    """The last hidden states `(n, width)` that predict a supervised token: the head works on no others."""
    hidden = hidden_states(network, tensors.ids, positions=tensors.places)
    return hidden.flatten(0, 1).index_select(0, tensors.positions)


def _chunks(network: Any, states: torch.Tensor, targets: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    size = chunk_size(network.config.vocab_size, states.device.type)
    return zip(states.split(size), targets.split(size), strict=True)


def _loss(network: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.cross_entropy(project(network, hidden), targets, reduction="sum")
