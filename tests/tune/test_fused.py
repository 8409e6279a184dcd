"""Layers written out by hand give what the library's give: hidden states and every gradient, to rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from carrara.models import Model
from carrara.models.forward import Shared, decoder_of, hidden_states
from carrara.models.load import load_model
from carrara.recipe import TuneRecipe
from carrara.tune import fused
from carrara.tune.fused import fuse
from carrara.tune.methods import attach
from carrara.tune.network import recompute_activations

IDS = torch.randint(3, 250, (3, 40), generator=torch.Generator().manual_seed(0))
PLACES = torch.cat([torch.arange(17), torch.arange(9), torch.arange(14)])[None].expand(3, -1)
_SEEN = (torch.rand(3, 1, 40, 40, generator=torch.Generator().manual_seed(1)) < 0.5) | torch.eye(40, dtype=torch.bool)
TREE = _SEEN.tril()
ALONG = torch.randn(3, 40, 32, generator=torch.Generator().manual_seed(2))


def _network(model: Model, recipe: TuneRecipe, dtype: str = "float32") -> Any:
    torch.manual_seed(0)
    network = attach(load_model(model, dtype), recipe)
    for name, parameter in network.named_parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype))
        if "lora_B" in name:
            parameter.data = torch.randn_like(parameter) * 0.1
    return network.train()


def _result(network: Any, **given: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    hidden = hidden_states(network, IDS, **given)
    (hidden.float() * ALONG).sum().backward()
    return hidden.detach(), {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).float().norm() / other.float().norm().clamp(min=1e-9))


@pytest.mark.parametrize("queries", [512, 40, 7], ids=["whole", "in blocks", "not kept"])
@pytest.mark.parametrize("given", [{}, {"positions": PLACES}, {"mask": TREE}], ids=["rows", "packed", "masked"])
@pytest.mark.parametrize(
    "options",
    [{"rank": 4}, {"rank": 4, "rslora": True, "targets": ("q_proj", "v_proj", "up_proj")}, {"rank": 4, "dora": True},
     {"rank": 4, "dropout": 1e-9}, {"method": "full"}, {"method": "ia3"}],
    ids=["lora", "some", "dora", "dropout", "full", "ia3"],
)  # fmt: skip
def test_states_and_gradients_are_the_librarys(
    options: Any, given: Any, queries: int, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "QUERIES_AT_ONCE", queries)
    recipe = TuneRecipe.model_validate(options)
    plain, ours = (_network(tiny_model, recipe) for _ in range(2))
    assert fuse(ours)
    expected, their_gradients = _result(plain, **given)
    found, our_gradients = _result(ours, **given)
    assert _distance(found, expected) < 1e-5
    assert our_gradients.keys() == their_gradients.keys()
    worst = max(_distance(our_gradients[name], their_gradients[name]) for name in their_gradients)
    assert worst < 2e-5


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("queries", [512, 7], ids=["whole", "in blocks"])
@pytest.mark.parametrize(
    "options", [{"rank": 4}, {"rank": 4, "dora": True}, {"method": "full"}, {"method": "ia3"}], ids=str
)
def test_an_opening_that_texts_share_is_computed_once_with_the_same_result(
    options: Any, queries: int, again: bool, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "QUERIES_AT_ONCE", queries)
    recipe = TuneRecipe.model_validate(options)
    opening, own = 11, IDS.shape[1] - 11
    alike = torch.cat([IDS[:1, :opening].expand(3, -1), IDS[:, opening:]], 1)
    apart, ours = (_network(tiny_model, recipe) for _ in range(2))
    assert fuse(apart)
    assert fuse(ours)
    if again:
        recompute_activations(ours)
    expected = hidden_states(apart, alike)
    (expected * ALONG).sum().backward()
    places = torch.cat([torch.arange(opening), torch.arange(opening, 40).repeat(3)])[None]
    ids = torch.cat([alike[0, :opening], alike[:, opening:].flatten()])[None]
    assert ids.shape == (1, opening + 3 * own)
    found = hidden_states(ours, ids, positions=places, shared=Shared(opening, 3))[0]
    along = torch.cat([ALONG[:, :opening].sum(0), ALONG[:, opening:].flatten(0, 1)])
    (found * along).sum().backward()
    assert _distance(found[:opening], expected[0, :opening]) < 1e-5
    assert _distance(found[opening:], expected[:, opening:].flatten(0, 1)) < 1e-5
    gradients = {name: p.grad for name, p in apart.named_parameters() if p.grad is not None}
    found_gradients = {name: p.grad for name, p in ours.named_parameters() if p.grad is not None}
    assert found_gradients.keys() == gradients.keys()
    assert max(_distance(found_gradients[name], gradients[name]) for name in gradients) < 2e-5


@pytest.mark.parametrize("heads", [(4, 4), (4, 1)])
@pytest.mark.parametrize("again", [False, True])
def test_heads_that_share_keys_or_do_not_and_activations_computed_again(
    heads: tuple[int, int], again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "QUERIES_AT_ONCE", 16)
    sizes: Any = {"num_attention_heads": heads[0], "num_key_value_heads": heads[1], "head_dim": 16}
    config = LlamaConfig(vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=2, **sizes)
    plain, ours = LlamaForCausalLM(config), LlamaForCausalLM(config)
    ours.load_state_dict(plain.state_dict())
    assert fuse(ours)
    if again:
        recompute_activations(ours)
    expected, their_gradients = _result(plain)
    found, our_gradients = _result(ours)
    assert _distance(found, expected) < 1e-5
    assert max(_distance(our_gradients[name], their_gradients[name]) for name in their_gradients) < 2e-5


def test_what_needs_a_cache_runs_as_the_library_has_it(tiny_model: Model) -> None:
    recipe = TuneRecipe(method="prefix", virtual_tokens=3)
    plain, ours = (_network(tiny_model, recipe) for _ in range(2))
    assert fuse(ours)
    assert torch.allclose(_result(plain)[0], _result(ours)[0], atol=1e-5)
    del decoder_of(ours).norm.forward  # the last norm is ours, and the layers before it are the library's to the bit
    assert torch.equal(_result(plain)[0], _result(ours)[0])


def test_in_bfloat16_it_errs_no_more_than_the_library(tiny_model: Model) -> None:
    recipe = TuneRecipe(rank=4)
    exact, gradients = _result(_network(tiny_model, recipe))
    errors = []
    for by_hand in (False, True):
        network = _network(tiny_model, recipe, "bfloat16")
        if by_hand:
            fuse(network)
        states, found = _result(network)
        errors.append((_distance(states, exact), sum(_distance(found[n], gradients[n]) for n in gradients)))
    (plain_states, plain_gradients), (our_states, our_gradients) = errors
    assert our_states < 1.3 * plain_states
    assert our_gradients < 1.3 * plain_gradients


@pytest.mark.parametrize("other", [{"hidden_act": "gelu"}, {"attention_dropout": 0.1}])
def test_another_architecture_is_left_alone(other: dict[str, Any], tiny_model: Model) -> None:
    network = _network(tiny_model, TuneRecipe(rank=2))
    network.get_base_model().config.update(other)
    assert not fuse(network)
    assert "forward" not in vars(network.get_base_model().model.layers[0])
