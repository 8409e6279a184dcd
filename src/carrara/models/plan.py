"""Will it fit? The memory that a fine-tune needs, per method, from a model's shape alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from carrara.models.catalogue import Shape
from carrara.models.machine import Machine

_RUNTIME = 1000 << 20  # interpreter, libraries, and what the allocator keeps of loading
_CHUNK = 1024  # positions whose logits exist at once (tune/objective.py)
_NF4 = 0.53  # bytes a weight: four bits and the block scales of QLoRA (arXiv 2305.14314)


@dataclass(frozen=True)
class Plan:
    """Bytes by what they hold, and whether the machine has them."""

    method: Literal["full", "lora", "qlora"]
    weights: int
    trained: int  # float32 masters, gradients and both moments
    activations: int
    runtime: int
    fits: bool
    reason: str  # why not, or empty

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.activations + self.runtime


def plan_methods(shape: Shape, parameters: int, machine: Machine, tokens: int, rank: int) -> list[Plan]:
    """The plan of each method for micro-batches of `tokens` padded tokens and adapters of a rank."""
    width = 2 if machine.bfloat16 else 4
    adapters = _adapter_parameters(shape, rank)
    activations = tokens * _activation_values(shape) * width + _head_bytes(shape, tokens)
    return [
        # the network's copy and its gradient, then master, gradient and two moments in float32
        _plan("full", parameters * width, parameters * (width + 16), activations, machine),
        _plan("lora", parameters * width, adapters * (2 * width + 16), activations, machine),
        _plan("qlora", int(parameters * _NF4), adapters * (2 * width + 16), activations, machine),
    ]


def _plan(
    method: Literal["full", "lora", "qlora"], weights: int, trained: int, activations: int, machine: Machine
) -> Plan:
    total = weights + trained + activations + _RUNTIME
    reason = ""
    if method == "qlora" and not machine.accelerator:
        reason = "needs an NVIDIA GPU"
    elif total > machine.working_memory:
        reason = f"needs {(total - machine.working_memory) / 1e9:.1f} GB more"
    return Plan(method, weights, trained, activations, _RUNTIME, not reason, reason)


def _adapter_parameters(shape: Shape, rank: int) -> int:
    heads, kv = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    ends = 2 * (shape.width + heads) + 2 * (shape.width + kv) + 3 * (shape.width + shape.feed_forward)
    return shape.layers * rank * ends


def _activation_values(shape: Shape) -> int:
    """Values kept for the backward pass per token, fitted to full fine-tuning (see benchmarks/README.md)."""
    heads, kv = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    norms = 8 * shape.width  # two, each with a float32 copy
    attention = 3 * heads + 4 * kv  # rotated queries, output, projections, repeated keys and values
    return shape.layers * (norms + attention + 4 * shape.feed_forward)


def _head_bytes(shape: Shape, tokens: int) -> int:
    return min(tokens, _CHUNK) * shape.vocabulary * 12  # logits, their softmax and its gradient in float32
