"""The optimizer: its groups, its schedules, and that it goes on exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from carrara.recipe import TuneRecipe
from carrara.tune.optimizer import Optimizer, learning_rate_at

NAMES = ("layer.lora_A.default.weight", "layer.lora_B.default.weight", "norm.weight", "embed_tokens.weight")


def _parameters() -> dict[str, torch.nn.Parameter]:
    torch.manual_seed(0)
    return {name: torch.nn.Parameter(torch.randn((3,) if "norm" in name else (3, 2))) for name in NAMES}


def _step(optimizer: Optimizer, rate: float) -> None:
    for number, parameter in enumerate(optimizer.parameters.values()):
        parameter.grad = torch.full_like(parameter, 0.1 * (number + 1))
    optimizer.collect_gradients()
    optimizer.clip()
    optimizer.step(rate)


def test_a_step_is_adamw_with_its_decay_and_rates() -> None:
    """With equal gradients throughout, Adam moves each value by the rate; decay takes its share before."""
    recipe = TuneRecipe(weight_decay=0.1, lora_plus=4.0, clip=1e9)
    optimizer = Optimizer(_parameters(), torch.float32, recipe)
    before = {name: master.clone() for name, master in optimizer.masters.items()}
    _step(optimizer, 0.01)
    for name, master in optimizer.masters.items():
        rate = 0.04 if "lora_B" in name else 0.01
        kept = 1 - 0.1 * rate if "lora" in name else 1.0
        assert torch.allclose(master, before[name] * kept - rate, atol=1e-6), name


def test_the_gradient_is_clipped_to_its_norm() -> None:
    optimizer = Optimizer(_parameters(), torch.float32, TuneRecipe(clip=0.5))
    for parameter in optimizer.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.collect_gradients()
    assert optimizer.clip() == pytest.approx(21**0.5)
    norm = sum(float(gradient.square().sum()) for gradient in optimizer.gradients().values()) ** 0.5
    assert norm == pytest.approx(0.5, rel=1e-4)


def test_gradients_of_many_passes_are_summed_in_float32() -> None:
    optimizer = Optimizer(_parameters(), torch.bfloat16, TuneRecipe())
    for _ in range(300):
        for parameter in optimizer.parameters.values():
            assert parameter.dtype == torch.bfloat16
            parameter.grad = torch.ones_like(parameter)
        optimizer.collect_gradients()
    assert all(bool((gradient == 300).all()) for gradient in optimizer.gradients().values())


def test_what_is_restored_goes_on_to_the_bit() -> None:
    recipe = TuneRecipe(weight_decay=0.1)
    whole, halves = (Optimizer(_parameters(), torch.bfloat16, recipe) for _ in range(2))
    for _ in range(5):
        _step(whole, 0.01)
    for _ in range(2):
        _step(halves, 0.01)
    other = Optimizer(_parameters(), torch.bfloat16, recipe)
    other.restore({name: tensor.clone() for name, tensor in halves.tensors().items()})
    for _ in range(3):
        _step(other, 0.01)
    assert all(torch.equal(whole.masters[name], other.masters[name]) for name in NAMES)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("linear", [0.5, 1.0, 1.0, 0.5, 1 / 98]), ("cosine", [0.5, 1.0, 1.0, 0.5, 0.0]), ("constant", [0.5, 1, 1, 1, 1])],
)
def test_schedules(schedule: Any, expected: Sequence[float]) -> None:
    recipe = TuneRecipe(schedule=schedule, learning_rate=1.0, warmup=0.02)
    rates = [learning_rate_at(step, 100, recipe) for step in (0, 1, 2, 51, 99)]
    assert rates == pytest.approx(expected, abs=3e-4)
