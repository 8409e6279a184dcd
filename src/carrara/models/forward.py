"""Running a causal model up to its last hidden state, and projecting only the positions that are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal

if TYPE_CHECKING:
    import torch

_UNKNOWN_SCALES = ("logit_scale", "logits_scaling")


def decoder_of(network: Any) -> Any:
    """The stack below the head, with adapters in place; `network` is a causal model or a PEFT wrapper of one."""
    causal = network.get_base_model() if hasattr(network, "get_base_model") else network
    return causal.get_decoder()


def check_head(network: Any) -> None:
    """Refuse a model that scales its logits in a way `project` does not know."""
    for name in _UNKNOWN_SCALES:
        if getattr(network.config, name, None) not in (None, 1, 1.0):
            raise Refusal(f"the model scales its logits by '{name}', which is not supported; choose another model.")


def project(network: Any, hidden: torch.Tensor) -> torch.Tensor:
    """Logits in float32 of hidden states `(n, width)`: `(n, vocabulary)`."""
    import torch

    logits = network.get_output_embeddings()(hidden).float()
    cap = getattr(network.config, "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits
