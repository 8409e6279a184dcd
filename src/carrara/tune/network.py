"""How the network's passes are run: settings that move memory and speed, and the result by rounding at most."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal, one_line
from carrara.models.forward import decoder_of
from carrara.progress import Progress

if TYPE_CHECKING:
    import torch


def make_deterministic(device: torch.device) -> None:
    """Let a GPU sum in the same order each time, so that a resumed run is the same run; a processor always does."""
    import torch

    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is computed
        torch.use_deterministic_algorithms(True, warn_only=True)


def recompute_activations(network: Any) -> None:
    """Keep only what enters each layer, and run the layer again when its gradient is due, with the same dropout."""
    from torch.utils.checkpoint import checkpoint

    for layer in decoder_of(network).layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def compile_layers(network: Any, device: torch.device, progress: Progress) -> None:
    """Let torch.compile write the layers' passes anew; raises Refusal where that does not work."""
    import torch

    try:
        torch.compile(torch.exp)(torch.zeros(2, device=device))
    except Exception as error:  # of torch, or of the compiler it calls
        reason = one_line(error, 200)
        raise Refusal(
            f"tune.compile does not work here ({reason}); install a C++ compiler such as g++, or leave it out."
        ) from error
    cost = "a while"
    if device.type == "cpu":
        cost = "minutes each time"
    progress.say(f"the first steps compile the layers, which takes {cost}")
    for layer in decoder_of(network).layers:
        layer.compile(dynamic=True)
