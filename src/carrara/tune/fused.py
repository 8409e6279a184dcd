"""A LLaMA decoder layer whose passes are written out by hand, for processors.

Each part is a function with its own backward pass. Nothing is kept that is cheap to compute again, what shares an
input is multiplied together, and attention is a few matrix products instead of a kernel made for long texts. The
network's weights, names and results stay as they are, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from torch.nn import functional

from carrara.models.forward import QUERIES_AT_ONCE, decoder_of

if TYPE_CHECKING:
    from torch import Tensor


def fuse(network: Any) -> bool:
    """Let the decoder layers of `network`, perhaps with adapters, run as written here; says whether they do.

    Only plain LLaMA layers on a processor do. Weights stay where they are, so that saving is not touched.
    """
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel

    decoder = decoder_of(network)
    if type(decoder) is not LlamaModel or decoder.config.hidden_act != "silu" or decoder.device.type != "cpu":
        return False
    layers: list[Any] = [layer for layer in decoder.layers if type(layer) is LlamaDecoderLayer]
    for layer in layers:
        layer.forward = _Layer(layer)
    norm: Any = decoder.norm
    norm.forward = lambda x: _Norm.apply(x, norm.weight, norm.variance_epsilon)
    return len(layers) == len(decoder.layers)


class _Layer:
    """The forward pass of one layer. With a cache, which generation and virtual tokens need, it is the library's."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._plain = layer.forward

    def __call__(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        past_key_values: Any = None,
        **others: Any,
    ) -> Tensor:
        if past_key_values is not None or position_embeddings is None:
            given = {"attention_mask": attention_mask, "position_embeddings": position_embeddings}
            return self._plain(hidden_states, **given, past_key_values=past_key_values, **others)
        attention, mlp, x = self._layer.self_attn, self._layer.mlp, hidden_states
        inner = _normed(self._layer.input_layernorm, x)
        queries, keys, values = _project([attention.q_proj, attention.k_proj, attention.v_proj], inner)
        cos, sin = (part[..., : part.shape[-1] // 2] for part in position_embeddings)
        seen = _Attend.apply(queries, keys, values, cos, sin, _additive(attention_mask, x.dtype))
        (out,) = _project([attention.o_proj], seen)
        x = x + out
        inner = _normed(self._layer.post_attention_layernorm, x)
        gate, up = _project([mlp.gate_proj, mlp.up_proj], inner)
        (out,) = _project([mlp.down_proj], _Gate.apply(gate, up))
        return x + out


def _additive(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask as numbers to add to the scores; the least stays finite, so that a row that sees nothing is a number."""
    if mask is None:
        return None
    least = torch.finfo(dtype).min / 2
    if mask.dtype is torch.bool:
        return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, least)
    return mask.to(dtype).clamp(min=least)


# ---- linear layers ----


def _project(modules: Sequence[Any], x: Tensor) -> Sequence[Tensor]:
    """What some linear layers make of the same `x`; plain LoRA on all of them is computed together."""
    if not all(map(_is_plain_lora, modules)):
        return [module(x) for module in modules]
    weights = [module.base_layer.weight for module in modules]
    first = [module.lora_A[module.active_adapter[0]].weight for module in modules]
    second = [module.lora_B[module.active_adapter[0]].weight for module in modules]
    scales = [module.scaling[module.active_adapter[0]] for module in modules]
    return _Lora.apply(x, scales, *weights, *first, *second)


def _is_plain_lora(module: Any) -> bool:
    """Whether PEFT's own forward would add B(A(x)) times the scale to a frozen linear layer, and do nothing else."""
    from peft.tuners.lora.layer import Linear

    if type(module) is not Linear or len(module.active_adapter) != 1 or module.disable_adapters or module.merged:
        return False
    (name,) = module.active_adapter
    return (
        name in module.lora_A
        and name not in module.lora_variant
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
        and type(module.base_layer) is torch.nn.Linear
        and module.base_layer.bias is None
        and module.lora_B[name].bias is None
        and not module.base_layer.weight.requires_grad
        and module.lora_A[name].weight.dtype == module.base_layer.weight.dtype
    )


class _Lora(Function):
    """y = x Wᵀ + scale (x Aᵀ) Bᵀ for several W, A, B and one x (arXiv 2106.09685); W has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scales: Sequence[float], *matrices: Tensor) -> tuple[Tensor, ...]:
        flat, count = x.flatten(0, -2), len(scales)
        weights, first, second = matrices[:count], matrices[count : 2 * count], matrices[2 * count :]
        ranks = [a.shape[0] for a in first]
        low = torch.mm(flat, torch.cat(first).t()).split(ranks, 1)
        ctx.save_for_backward(x, *low, *matrices)
        ctx.scales, ctx.ranks = scales, ranks
        return tuple(
            torch.mm(flat, w.t()).addmm_(part, b.t(), alpha=scale).view(*x.shape[:-1], -1)
            for w, b, part, scale in zip(weights, second, low, scales, strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        count = len(ctx.scales)
        x, *kept = ctx.saved_tensors
        low, weights, first, second = (kept[i * count : (i + 1) * count] for i in range(4))
        flat, outer = x.flatten(0, -2), [gradient.flatten(0, -2) for gradient in gradients]
        inner = torch.cat([torch.mm(g, b).mul_(s) for g, b, s in zip(outer, second, ctx.scales, strict=True)], 1)
        below = torch.mm(inner, torch.cat(first))
        for gradient, weight in zip(outer, weights, strict=True):
            below.addmm_(gradient, weight)
        down = torch.mm(inner.t(), flat).split(ctx.ranks)
        up = [torch.mm(g.t(), part).mul_(s) for g, part, s in zip(outer, low, ctx.scales, strict=True)]
        return below.view_as(x), None, *([None] * count), *down, *up


# ---- attention ----


class _Attend(Function):
    """Rotary positions (arXiv 2104.09864) and attention, `(rows, length, heads · width)` in and out.

    `cos` and `sin` hold the first half of each, their second half being the same.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None
    ) -> Tensor:
        width = 2 * cos.shape[-1]
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        q, k = _turned(_heads(queries, width), cos, sin), _turned(_heads(keys, width), cos, sin)
        v = _heads(values, width).contiguous()
        ctx.save_for_backward(q, k, v, cos, sin)
        ctx.mask = mask
        out = torch.empty_like(queries)
        places = _heads(out, width)
        q3, k3, v3 = _each_head(q, k, v)
        for start, end in _blocks(q.shape[2]):
            seen = torch.bmm(_weights(q3, k3, mask, start, end), v3[:, :end])
            places[:, :, start:end] = seen.view(*q.shape[:2], -1, width)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        q, k, v, cos, sin = ctx.saved_tensors
        q3, k3, v3 = _each_head(q, k, v)
        gradient = _heads(gradient, q.shape[3]).reshape(q3.shape)
        for_q, for_k, for_v = torch.empty_like(q3), torch.zeros_like(k3), torch.zeros_like(v3)
        for start, end in _blocks(q.shape[2]):
            weights, above = _weights(q3, k3, ctx.mask, start, end), gradient[:, start:end]
            scores = torch.ops.aten._softmax_backward_data(torch.bmm(above, v3[:, :end].mT), weights, -1, weights.dtype)
            for_q[:, start:end] = torch.bmm(scores, k3[:, :end])
            for_k[:, :end] += torch.bmm(scores.mT, q3[:, start:end])
            for_v[:, :end] += torch.bmm(weights.mT, above)
        back = cos * q.shape[3] ** -0.5, sin * -(q.shape[3] ** -0.5)
        return (
            _flat(_turned(for_q.view(q.shape), *back)),
            _flat(_turned(_summed(for_k, k), *back)),
            _flat(_summed(for_v, v)),
            None,
            None,
            None,
        )


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, QUERIES_AT_ONCE):
        yield start, min(start + QUERIES_AT_ONCE, length)


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, start: int, end: int) -> Tensor:
    """How much the queries from `start` to `end` attend to the keys before `end`, `(rows · heads, queries, keys)`."""
    if mask is None:
        least = torch.finfo(q.dtype).min / 2
        added = torch.full((end - start, end), least, dtype=q.dtype).triu_(start + 1)
    else:
        part = mask[:, :, start:end, :end]
        added = part[0, 0] if len(mask) == 1 else part.expand(-1, q.shape[0] // len(mask), -1, -1).flatten(0, 1)
    return torch.baddbmm(added, q[:, start:end], k[:, :end].mT, alpha=q.shape[2] ** -0.5).softmax(-1)


def _heads(x: Tensor, width: int) -> Tensor:
    return x.unflatten(-1, (-1, width)).transpose(1, 2)


def _flat(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _each_head(q: Tensor, k: Tensor, v: Tensor) -> list[Tensor]:
    """`(rows · heads, length, width)` of each, keys and values repeated for the heads that share them."""
    group = q.shape[1] // k.shape[1]
    return [q.flatten(0, 1), *(x.repeat_interleave(group, 1).flatten(0, 1) for x in (k, v))]


def _summed(x: Tensor, shared: Tensor) -> Tensor:
    """The gradients of repeated keys or values, added up for each of the shared ones."""
    rows, heads, length, width = shared.shape
    return x.view(rows, heads, -1, length, width).sum(2)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    left, right, out = x[..., :half], x[..., half:], torch.empty(x.shape, dtype=x.dtype)
    torch.mul(left, cos, out=out[..., :half]).addcmul_(right, sin, value=-1)
    torch.mul(right, cos, out=out[..., half:]).addcmul_(left, sin)
    return out


# ---- element by element ----


def _normed(norm: Any, x: Tensor) -> Tensor:
    return _Norm.apply(x, norm.weight, norm.variance_epsilon)  # type: ignore[no-any-return]


class _Norm(Function):
    """x / root of the mean square of x, times a weight (arXiv 1910.07467); the gradient is computed in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x, weight)
        ctx.epsilon = epsilon
        return functional.rms_norm(x, weight.shape, weight, epsilon)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        wide = x.float()
        scale = wide.square().mean(-1, keepdim=True).add_(ctx.epsilon).rsqrt_()
        above = gradient.float()
        for_weight = None
        if ctx.needs_input_grad[1]:
            for_weight = (above * wide).mul_(scale).flatten(0, -2).sum(0).to(weight.dtype)
        above = above * weight
        along = (above * wide).mean(-1, keepdim=True).mul_(scale.square())
        return above.addcmul_(wide, along, value=-1).mul_(scale).to(x.dtype), for_weight, None


class _Gate(Function):
    """silu(gate) · up (arXiv 2002.05202)."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient * up, gate), functional.silu(gate).mul_(gradient)
