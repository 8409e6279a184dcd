"""A LLaMA decoder layer whose passes are written out by hand, for processors.

Nothing is kept that is cheap to compute again, what shares an input is multiplied together, and attention is a few
matrix products instead of a kernel made for long texts. The network's weights, names and results stay as they are, to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from torch.nn import functional

from carrara.models.forward import QUERIES_AT_ONCE, Shared, decoder_of

if TYPE_CHECKING:
    from torch import Tensor


def fuse(network: Any) -> bool:
    """Let the decoder layers of `network`, perhaps with adapters, run as written here; says whether they do.

    Only plain LLaMA layers on a processor do. Weights stay where they are, so that saving is not touched.
    """
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaModel

    decoder = decoder_of(network)
    if type(decoder) is not LlamaModel or decoder.device.type != "cpu":
        return False
    if decoder.config.hidden_act != "silu" or decoder.config.attention_dropout:
        return False
    layers: list[Any] = [layer for layer in decoder.layers if type(layer) is LlamaDecoderLayer]
    for layer in layers:
        layer.forward = _Layer(layer)
    norm: Any = decoder.norm
    norm.forward = lambda x: _Run.apply(*_normed(norm, x))
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
        shared: Shared | None = None,
        **others: Any,
    ) -> Tensor:
        if past_key_values is not None or position_embeddings is None:
            given = {"attention_mask": attention_mask, "position_embeddings": position_embeddings}
            return self._plain(hidden_states, **given, past_key_values=past_key_values, **others)
        layer, attention, mlp, x = self._layer, self._layer.self_attn, self._layer.mlp, hidden_states
        modules = [attention.q_proj, attention.k_proj, attention.v_proj]
        queries, keys, values = _project(modules, *_normed(layer.input_layernorm, x))
        cos, sin = (part[..., : part.shape[-1] // 2] for part in position_embeddings)
        if shared:
            seen = _attend_sharing(shared, queries, keys, values, cos, sin)
        else:
            seen = _Attend.apply(queries, keys, values, cos, sin, attention_mask)
        (out,) = _project([attention.o_proj], _Same(), seen)
        x = x + out
        gate, up = _project([mlp.gate_proj, mlp.up_proj], *_normed(layer.post_attention_layernorm, x))
        (out,) = _project([mlp.down_proj], _Gate(), gate, up)
        return x + out


# ---- linear layers ----


def _project(modules: Sequence[Any], part: _Part, *inputs: Tensor) -> Sequence[Tensor]:
    """What some linear layers make of what `part` makes of `inputs`; plain LoRA on all of them is computed together."""
    if not all(map(_is_plain_lora, modules)):
        x = inputs[0] if isinstance(part, _Same) else _Run.apply(part, *inputs)
        return [module(x) for module in modules]
    weights = [module.base_layer.weight for module in modules]
    first = [module.lora_A[module.active_adapter[0]].weight for module in modules]
    second = [module.lora_B[module.active_adapter[0]].weight for module in modules]
    scales = [module.scaling[module.active_adapter[0]] for module in modules]
    return _Lora.apply(part, scales, *inputs, *weights, *first, *second)


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
    """y = x Wᵀ + scale (x Aᵀ) Bᵀ for several W, A, B and the x of one part (arXiv 2106.09685); W has no gradient."""

    @staticmethod
    def forward(ctx: Any, part: _Part, scales: Sequence[float], *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, (weights, first, second) = _parted(tensors, len(scales), 3)
        x = part.forward(*inputs)
        flat = x.flatten(0, -2)
        low = torch.mm(flat, torch.cat(first).t()).split([a.shape[0] for a in first], 1)
        ctx.save_for_backward(*tensors, *low)
        ctx.part, ctx.scales = part, scales
        return tuple(
            torch.mm(flat, w.t()).addmm_(lowered, b.t(), alpha=scale).view(*x.shape[:-1], -1)
            for w, b, lowered, scale in zip(weights, second, low, scales, strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        part, scales = ctx.part, ctx.scales
        inputs, (weights, first, second, low) = _parted(ctx.saved_tensors, len(scales), 4)
        x, back = part.again(*inputs)
        flat, outer = x.flatten(0, -2), [gradient.flatten(0, -2) for gradient in gradients]
        inner = torch.cat([torch.mm(g, b).mul_(s) for g, b, s in zip(outer, second, scales, strict=True)], 1)
        below = torch.mm(inner, torch.cat(first))
        for gradient, weight in zip(outer, weights, strict=True):
            below.addmm_(gradient, weight)
        down = torch.mm(inner.t(), flat).split([a.shape[0] for a in first])
        up = [torch.mm(g.t(), lowered).mul_(s) for g, lowered, s in zip(outer, low, scales, strict=True)]
        return None, None, *back(below.view_as(x)), *([None] * len(scales)), *down, *up


def _parted(
    tensors: tuple[Tensor, ...], count: int, groups: int
) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]]]:
    """The tensors before the last `groups` of `count` each, and those groups."""
    start = len(tensors) - groups * count
    return tensors[:start], [tensors[i : i + count] for i in range(start, len(tensors), count)]


# ---- attention ----


def _attend_sharing(shared: Shared, queries: Tensor, keys: Tensor, values: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Attention of texts that lie in one row behind their opening, which is attended to by all of them."""
    before = shared.opening
    length = before + (queries.shape[1] - before) // shared.texts
    cos, sin = cos[:, :length], sin[:, :length]
    apart = [each.split([before, each.shape[1] - before], 1) for each in (queries, keys, values)]
    first = _Attend.apply(*(opening for opening, _ in apart), cos[:, :before], sin[:, :before], None)
    own = (rest.reshape(shared.texts, length - before, -1) for _, rest in apart)
    seen = _Attend.apply(*own, cos, sin, None, apart[1][0], apart[2][0])
    return torch.cat([first, seen.reshape(1, -1, queries.shape[2])], 1)


class _Attend(Function):
    """Rotary positions (arXiv 2104.09864) and attention, `(rows, length, heads · width)` in and out.

    `cos` and `sin` hold the first half of each, their second half being the same. `mask` is the library's, or None for
    a causal one. Some queries attend at a time, and to no keys after them. How much each attends to each is kept where
    rows are short, and else computed again. `opening`, if any, is a row of keys and one of values that stand before
    those of every row; `cos` and `sin` begin with theirs.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None,
        *opening: Tensor,
    ) -> Tensor:
        width = 2 * cos.shape[-1]
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        before = cos.shape[2] - queries.shape[1]
        q = _turned(_heads(queries, width), cos[:, :, before:], sin[:, :, before:])
        keys, values = (_behind(row, rest) for row, rest in zip(opening or (None, None), (keys, values), strict=True))
        k, v = _turned(_heads(keys, width), cos, sin), _heads(values, width).contiguous()
        out = torch.empty_like(queries)
        places, kept = _heads(out, width), []
        for start, end in _blocks(q):
            weights = _weights(q, k, mask, start, end)
            seen = torch.bmm(weights, v.flatten(0, 1)[:, : before + end])
            places[:, :, start:end] = seen.view(*q.shape[:2], -1, width)
            if k.shape[2] <= QUERIES_AT_ONCE and any(ctx.needs_input_grad):
                kept.append(weights)
        ctx.save_for_backward(q, k, v, cos, sin, *kept)
        ctx.mask = mask
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        q, k, v, cos, sin, *kept = ctx.saved_tensors
        before = k.shape[2] - q.shape[2]
        gradient = _heads(gradient, q.shape[3])
        for_q, for_k, for_v = torch.empty_like(q), *(torch.zeros(k.shape) for _ in range(2))  # sums, so in float32
        for start, end in _blocks(q):
            weights, last = kept.pop(0) if kept else _weights(q, k, ctx.mask, start, end), before + end
            asked, above = (_sharing(x, k, start, end) for x in (q, gradient))
            along = torch.bmm(above, v.flatten(0, 1)[:, :last].mT)
            scores = torch.ops.aten._softmax_backward_data(along, weights, -1, weights.dtype)
            for_q[:, :, start:end] = torch.bmm(scores, k.flatten(0, 1)[:, :last]).view(*q.shape[:2], -1, q.shape[3])
            for_k.flatten(0, 1)[:, :last] += torch.bmm(scores.mT, asked)
            for_v.flatten(0, 1)[:, :last] += torch.bmm(weights.mT, above)
        back = cos * q.shape[3] ** -0.5, sin * -(q.shape[3] ** -0.5)
        below = _flat(_turned(for_k.to(k.dtype), *back)), _flat(for_v.to(v.dtype))
        opening = [each[:, :before].sum(0, keepdim=True) for each in below] if before else []
        return (
            _flat(_turned(for_q, *(each[:, :, before:] for each in back))),
            *(each[:, before:] for each in below),
            None,
            None,
            None,
            *opening,
        )


def _behind(opening: Tensor | None, rows: Tensor) -> Tensor:
    """Rows `(rows, length, width)`, each behind the opening `(1, length, width)` if there is one."""
    return rows if opening is None else torch.cat([opening.expand(len(rows), -1, -1), rows], 1)


def _blocks(q: Tensor) -> Iterator[tuple[int, int]]:
    """Few in any row, since each has shapes of its own to prepare; short rows are cut to skip what comes later."""
    length = q.shape[2]
    size = QUERIES_AT_ONCE if length > QUERIES_AT_ONCE else QUERIES_AT_ONCE // 4
    for start in range(0, length, size):
        yield start, min(start + size, length)


def _weights(q: Tensor, k: Tensor, mask: Tensor | None, start: int, end: int) -> Tensor:
    """How much the queries from `start` to `end` attend to keys up to their own, those of a shared key together."""
    asked, before = _sharing(q, k, start, end), k.shape[2] - q.shape[2]
    scores = asked.new_empty(*asked.shape[:2], before + end)
    scores.baddbmm_(asked, k.flatten(0, 1)[:, : before + end].mT, beta=0, alpha=q.shape[3] ** -0.5)
    each_head = scores.view(*q.shape[:2], -1, before + end)
    if mask is None:
        each_head[..., before + start :] += torch.full((end - start,) * 2, _least(q.dtype), dtype=q.dtype).triu_(1)
    else:
        each_head += _additive(mask[:, :, start:end, :end], q.dtype)
    return scores.softmax(-1)


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask as numbers to add to the scores."""
    if mask.dtype is torch.bool:
        return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, _least(dtype))
    return mask.to(dtype).clamp(min=_least(dtype))


def _sharing(x: Tensor, k: Tensor, start: int, end: int) -> Tensor:
    """`(rows · keys' heads, queries of all heads that share them, width)` of x `(rows, heads, length, width)`."""
    return x[:, :, start:end].reshape(k.shape[0] * k.shape[1], -1, x.shape[3])


def _least(dtype: torch.dtype) -> float:
    """Added to a score it leaves nothing of it, and stays finite where it is all that a query sees."""
    return torch.finfo(dtype).min / 2


def _heads(x: Tensor, width: int) -> Tensor:
    return x.unflatten(-1, (-1, width)).transpose(1, 2)


def _flat(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    left, right, out = x[..., :half], x[..., half:], torch.empty(x.shape, dtype=x.dtype)
    torch.mul(left, cos, out=out[..., :half]).addcmul_(right, sin, value=-1)
    torch.mul(right, cos, out=out[..., half:]).addcmul_(left, sin)
    return out


# ---- parts that are cheap to compute again ----

_Back = Callable[["Tensor"], "tuple[Tensor | None, ...]"]


class _Run(Function):
    """A part by itself."""

    @staticmethod
    def forward(ctx: Any, part: _Part, *inputs: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(*inputs)
        ctx.part = part
        return part.forward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        _, back = ctx.part.again(*ctx.saved_tensors)
        return None, *back(gradient)


@dataclass(frozen=True)
class _Same:
    """x itself. As of every part: what `forward` gives, and that `again` with the way back, which may spoil it."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def again(self, x: Tensor) -> tuple[Tensor, _Back]:
        return x, lambda gradient: (gradient,)


def _normed(norm: Any, x: Tensor) -> tuple[_Norm, Tensor, Tensor]:
    return _Norm(norm.variance_epsilon), x, norm.weight


@dataclass(frozen=True)
class _Norm:
    """x / root of the mean square of x, times a weight (arXiv 1910.07467), computed in float32."""

    epsilon: float

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return self._even(x)[0].mul_(weight.float()).to(x.dtype)

    def again(self, x: Tensor, weight: Tensor) -> tuple[Tensor, _Back]:
        even, scale = self._even(x)
        wide = weight.float()

        def back(gradient: Tensor) -> tuple[Tensor, Tensor | None]:
            above = gradient * wide
            along = (above * even).mean(-1, keepdim=True)
            below = above.addcmul_(even, along, value=-1).mul_(scale).to(x.dtype)
            if not weight.requires_grad:
                return below, None
            return below, (gradient * even).flatten(0, -2).sum(0).to(weight.dtype)

        return (even * wide).to(x.dtype), back

    def _even(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x of mean square one, and what it was multiplied by."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = length.square_().div_(x.shape[-1]).add_(self.epsilon).rsqrt_()
        return x * scale, scale


@dataclass(frozen=True)
class _Gate:
    """silu(gate) · up (arXiv 2002.05202)."""

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        return functional.silu(gate).mul_(up)

    def again(self, gate: Tensor, up: Tensor) -> tuple[Tensor, _Back]:
        opened = functional.silu(gate)

        def back(gradient: Tensor) -> tuple[Tensor, Tensor]:
            return torch.ops.aten.silu_backward(gradient * up, gate), opened.mul_(gradient)

        return opened * up, back


_Part = _Same | _Norm | _Gate
