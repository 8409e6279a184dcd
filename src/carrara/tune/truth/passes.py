"""Loss and gradient of a few rows: by the very step that training takes, and by a plain computation beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from carrara.data.render.example import Rendered
from carrara.tune.optimizer import Optimizer
from carrara.tune.state import Place, random_state, restore_random_state
from carrara.tune.step import take_step
from carrara.tune.training import History, Training

if TYPE_CHECKING:
    import torch

_KEPT = 4096  # places of a parameter's gradient that are compared
_SMALL = 2e-3  # moves a model's loss little, and lets every gradient through
# Of the loss, in parts of it and in nats (a small one is all rounding), and of the gradient.
_TOLERANCE = {"float32": (1e-3, 1e-4, 1e-2), "bfloat16": (2e-2, 1e-2, 0.15), "float16": (1e-2, 1e-2, 0.1)}


@dataclass(frozen=True)
class Pass:
    """A mean loss in nats per supervised token, and places of its gradient by parameter; None where there is none.

    `moved` names the parameters whose whole gradient is not zero: an embedding's is, but for the tokens in use. A loss
    that was measured without learning has no gradient at all.
    """

    loss: float
    gradient: Mapping[str, torch.Tensor | None]
    moved: frozenset[str] = frozenset()

    def gap(self, other: Pass) -> float:
        """How far apart two gradients are: the norm of their difference over the larger of their norms."""
        mine, theirs = (
            {name: each for name, each in one.gradient.items() if each is not None} for one in (self, other)
        )
        size = max(_norm(mine.values()), _norm(theirs.values()))
        apart = [
            mine[name] - theirs[name] if name in mine and name in theirs else mine.get(name, theirs.get(name))
            for name in mine.keys() | theirs.keys()
        ]
        return _norm(each for each in apart if each is not None) / size if size else 0.0

    def agrees(self, other: Pass, dtype: torch.dtype) -> bool:
        """Whether the two are the same but for rounding in the network's precision."""
        share, nats, gradient = _TOLERANCE[str(dtype).removeprefix("torch.")]
        close = abs(self.loss - other.loss) <= share * abs(other.loss) + nats
        return close and (not self.gradient or self.gap(other) <= gradient)


class _Watched(Optimizer):
    """The training's optimizer that shows the gradient of a step and takes no step."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.__dict__.update(vars(optimizer))
        self.seen = Pass(0.0, {})

    def clip(self) -> float:
        gradients = self.gradients()
        self.seen = _seen(0.0, {name: gradients.get(name) for name in self.parameters})
        return super().clip()

    def step(self, learning_rate: float) -> None:
        self.forget_gradients()


def step_pass(training: Training, rows: Sequence[Rendered], tokens: int, packed: bool) -> Pass:
    """What a training step makes of `rows` with passes of `tokens` places."""
    watched = _Watched(training.optimizer)
    recipe = training.recipe.model_copy(
        update={"micro_batch_tokens": tokens, "batching": "packed" if packed else "sorted", "batch_size": len(rows)}
    )
    wanted = replace(training, optimizer=watched, rows=rows, recipe=recipe)
    point = take_step(wanted, Place(0, History()), list(range(len(rows))), lambda: None)
    return replace(watched.seen, loss=point["loss"])


def plain_pass(training: Training, rows: Sequence[Rendered]) -> Pass:
    """What transformers' own logits and a cross-entropy in float32 make of `rows`, one after the other."""
    network, parameters = training.network, training.optimizer.parameters
    learned, loss = sum(row.supervised_count for row in rows), 0.0
    for row in rows:
        summed = _plain_loss(network, row, training.device)
        if summed.requires_grad:  # not where nothing that learns is connected
            (summed / learned).backward()
        loss += summed.item()
    seen = _seen(loss / learned, {name: parameter.grad for name, parameter in parameters.items()})
    network.zero_grad(set_to_none=True)
    return seen


def differing(
    training: Training, rows: Sequence[Rendered], plain: Pass, way: Callable[[], Pass], dtype: torch.dtype
) -> tuple[Pass, Pass] | None:
    """What `way` and the plain computation give where they differ by more than rounding in `dtype`.

    What differs in less than float32 is computed again in float32: a large adapter rounds away half of a gradient, and
    that is no fault.
    """
    import torch

    found = way()
    if found.agrees(plain, dtype):
        return None
    if dtype is torch.float32:
        return found, plain
    with _in_float32(training.network):
        found, plain = way(), plain_pass(training, rows)
    return None if found.agrees(plain, torch.float32) else (found, plain)


@contextmanager
def _in_float32(network: Any) -> Iterator[None]:
    """Within it the network computes in float32; after it, its tensors are those of before."""
    import torch

    tensors = (tensor for tensor in (*network.parameters(), *network.buffers()) if tensor.is_floating_point())
    kept = [(tensor, tensor.data) for tensor in tensors]
    fourbit = [(module, module.compute_dtype) for module in network.modules() if hasattr(module, "compute_dtype")]
    try:
        for tensor, data in kept:
            tensor.data = data.float()
        for module, _ in fourbit:
            module.compute_dtype = torch.float32
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data
        for module, dtype in fourbit:
            module.compute_dtype = dtype


def _plain_loss(network: Any, row: Rendered, device: torch.device) -> torch.Tensor:
    import torch

    ids = torch.tensor([row.ids], device=device)
    learned = torch.tensor(row.supervised, device=device)[1:]
    # With a cache, layers that are written by hand leave the work to the library's. Virtual tokens stand in front.
    logits = network(input_ids=ids, use_cache=True).logits[0, -len(row.ids) :]
    return torch.nn.functional.cross_entropy(logits[:-1][learned].float(), ids[0, 1:][learned], reduction="sum")


def _seen(loss: float, gradients: Mapping[str, torch.Tensor | None]) -> Pass:
    moved = frozenset(name for name, each in gradients.items() if each is not None and bool(each.any()))
    return Pass(loss, {name: _places(each) for name, each in gradients.items()}, moved)


def _places(gradient: torch.Tensor | None) -> torch.Tensor | None:
    """Evenly spaced places of a gradient, a copy of its own."""
    if gradient is None:
        return None
    flat = gradient.detach().flatten()
    return flat[:: -(-len(flat) // _KEPT) or 1].float().clone()


def _norm(tensors: Any) -> float:
    return sum(float(tensor.double().square().sum()) for tensor in tensors) ** 0.5


@contextmanager
def untouched(training: Training) -> Iterator[None]:
    """Within it, nothing is dropped out and nothing starts at zero; after it, all is as it was, to the bit.

    The factor of a fresh adapter that is zero would hide what stands before it, so it holds small numbers meanwhile.
    """
    modes = [(module, module.training) for module in training.network.modules()]
    chance = random_state(training.device)
    kept = {name: parameter.data for name, parameter in training.optimizer.parameters.items()}
    training.network.eval()
    try:
        yield
    finally:
        for name, parameter in training.optimizer.parameters.items():
            parameter.data = kept[name]
        training.network.zero_grad(set_to_none=True)
        training.optimizer.forget_gradients()
        for module, mode in modes:
            module.training = mode
        restore_random_state(chance, training.device)


def wake(training: Training) -> None:
    """Put small numbers where a trained parameter is all zero; `untouched` takes them out again."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for parameter in training.optimizer.parameters.values():
        if not parameter.data.any():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = (_SMALL * noise).to(parameter.data)
