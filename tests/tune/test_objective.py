"""The objective: chunked and packed, it is the plain cross-entropy, and so is its gradient."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from carrara.data.render.batches import collate
from carrara.data.render.example import Rendered
from carrara.models import Model
from carrara.models.load import load_model
from carrara.recipe import TuneRecipe
from carrara.tune import objective
from carrara.tune.methods import attach, trainable
from carrara.tune.network import recompute_activations
from carrara.tune.objective import chunk_size, learn, summed_loss

CPU = torch.device("cpu")
METHODS = ["full", "lora", "ia3", "prefix", "prompt"]
Gradients = dict[str, torch.Tensor]


def _rows(lengths: list[int]) -> list[Rendered]:
    chance = random.Random(0)
    return [
        Rendered(
            tuple(chance.randrange(3, 250) for _ in range(length)),
            (False, *(place % 3 > 0 or length < 4 for place in range(1, length))),
            number,
            str(number),
        )
        for number, length in enumerate(lengths)
    ]


ROWS = _rows([31, 2, 17, 64, 3, 50])


def _network(model: Model, **keys: Any) -> Any:
    """A network whose adapters are no longer at rest, so that every parameter has a gradient."""
    recipe = TuneRecipe.model_validate(keys)
    torch.manual_seed(0)
    network = attach(load_model(model, "float32"), recipe)
    for parameter in trainable(network).values():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return network.train()


def _after(network: Any, work: Callable[[], float]) -> tuple[float, Gradients]:
    network.zero_grad(set_to_none=True)
    loss = work()
    return loss, {name: p.grad.clone() for name, p in trainable(network).items() if p.grad is not None}


def _plain(network: Any) -> float:
    """The loss by transformers' own logits in float32, row by row."""
    total = 0.0
    for row in ROWS:
        logits = network(input_ids=torch.tensor([row.ids])).logits[0, -len(row.ids) :].float()
        learned = torch.tensor(row.supervised)[1:]
        loss = torch.nn.functional.cross_entropy(
            logits[:-1][learned], torch.tensor(row.ids)[1:][learned], reduction="sum"
        )
        (loss * 0.1).backward()
        total += loss.item()
    return total


def _assert_alike(one: tuple[float, Gradients], other: tuple[float, Gradients]) -> None:
    """To rounding of float32: losses to 1e-6 of their size, gradients to 1e-5 of their largest value."""
    assert one[0] == pytest.approx(other[0], rel=1e-6)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        assert (gradient - other[1][name]).abs().max() <= 1e-5 * other[1][name].abs().max().clamp(min=1e-3), name


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("packed", [False, True])
def test_loss_and_gradient_are_plain_cross_entropys(
    method: str, packed: bool, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with the head in chunks and trained itself, as it is tied to the embeddings here."""
    monkeypatch.setattr(objective, "chunk_size", lambda vocabulary, device: 16)
    network = _network(tiny_model, method=method)
    plain = _after(network, lambda: _plain(network))
    tensors = collate(ROWS, CPU, packed)
    _assert_alike(_after(network, lambda: learn(network, tensors, 0.1).item()), plain)
    with torch.inference_mode():
        assert summed_loss(network, tensors).item() == pytest.approx(plain[0], rel=1e-6)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
def test_logits_become_the_gradient_of_cross_entropy(dtype: torch.dtype, most: float) -> None:
    """However many rows are turned at once; in bfloat16 the loss is exact and each gradient rounded once."""
    chance = torch.Generator().manual_seed(0)
    logits = (8 * torch.randn(37, 101, generator=chance)).to(dtype)
    targets = torch.randint(101, (37,), generator=chance)
    leaf = logits.double().requires_grad_()
    loss = torch.nn.functional.cross_entropy(leaf, targets, reduction="sum")
    loss.backward()
    assert leaf.grad is not None
    gradient, found = objective.into_gradient(logits, targets, 0.3)
    assert found.item() == pytest.approx(loss.item(), rel=1e-6)
    assert gradient.dtype is dtype
    assert ((gradient.double() - 0.3 * leaf.grad).abs() <= most * (0.3 * leaf.grad).abs() + 1e-7).all()


def test_rows_in_one_window_do_not_see_each_other(tiny_model: Model) -> None:
    network = _network(tiny_model, method="lora").eval()
    with torch.inference_mode():
        alone = [summed_loss(network, collate([row], CPU)).item() for row in ROWS]
        together = summed_loss(network, collate(ROWS, CPU, packed=True)).item()
        # what they would give as one text, each seeing those before it
        joined = Rendered(sum((row.ids for row in ROWS), ()), sum((row.supervised for row in ROWS), ()), 0, "")
        leaking = summed_loss(network, collate([joined], CPU)).item()
    assert together == pytest.approx(sum(alone), rel=1e-6)
    assert abs(leaking - together) > 1


@pytest.mark.parametrize("keys", [{"method": "full"}, {"method": "lora", "dropout": 0.2}])
def test_recomputed_activations_give_the_same_gradient(keys: dict[str, Any], tiny_model: Model) -> None:
    """Dropout too: what is computed again draws the same numbers."""
    found = []
    for again in (False, True):
        network = _network(tiny_model, **keys)
        if again:
            recompute_activations(network)
        torch.manual_seed(1)
        found.append(_after(network, lambda network=network: learn(network, collate(ROWS, CPU), 0.1).item()))
    _assert_alike(found[1], found[0])


def test_recomputing_keeps_less(tiny_model: Model) -> None:
    """The tensors that wait for the backward pass, in bytes, without the parameters."""
    kept = []
    for again in (False, True):
        network = _network(tiny_model, method="full")
        if again:
            recompute_activations(network)
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            objective._states(network, collate(ROWS, CPU))
        weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        kept.append(sum(size for place, size in sizes.items() if place not in weights))
    assert kept[1] < 0.5 * kept[0]


@pytest.mark.parametrize(("vocabulary", "device", "most"), [(49_152, "cpu", 96 << 20), (128_256, "cuda", 512 << 20)])
def test_logits_that_exist_at_once_are_bounded(vocabulary: int, device: str, most: int) -> None:
    assert chunk_size(vocabulary, device) > 100
    assert chunk_size(vocabulary, device) * vocabulary * 4 <= most
