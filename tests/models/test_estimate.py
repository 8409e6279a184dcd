"""The estimate: the arithmetic is right, and the bounds hold what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from carrara.models import read_catalogue
from carrara.models.estimate import Estimate, MatrixRate, Method, estimate_training, measure_rate
from carrara.models.machine import Machine
from carrara.recipe import CostRecipe

TWO_CORES = Machine(2, 24 << 30, 20 << 30, None, 0, True)
FAST = MatrixRate("bfloat16", 950e9)


def _estimate(
    method: Method = "lora",
    tokens: int = 64_774,
    epochs: float = 1,
    machine: Machine = TWO_CORES,
    rate: MatrixRate = FAST,
    cost: CostRecipe | None = None,
    model: str = "smollm2-135m-instruct",
) -> Estimate:
    entry = read_catalogue()[model]
    return estimate_training(entry.shape, entry.parameters, method, tokens, epochs, machine, rate, cost or CostRecipe())


def test_the_run_of_the_readme_lies_within_its_estimate() -> None:
    estimate = _estimate()
    assert estimate.low < 118 < estimate.high  # 64,774 tokens took 118 s
    assert estimate.seconds == pytest.approx(64_774 * 4 * 134.515e6 / (950e9 * 0.33), rel=1e-3)
    assert estimate.energy_wh == pytest.approx(estimate.seconds * 24 / 3600)


def test_every_weight_takes_half_as_much_again_and_epochs_multiply() -> None:
    lora = _estimate()
    assert _estimate("full").seconds == pytest.approx(1.5 * lora.seconds)
    thrice = _estimate(epochs=3)
    assert (thrice.tokens, thrice.seconds) == (3 * 64_774, pytest.approx(3 * lora.seconds))
    assert _estimate(rate=replace(FAST, operations=475e9)).seconds == pytest.approx(2 * lora.seconds)


def test_an_embedding_that_is_only_looked_up_costs_nothing() -> None:
    entry = read_catalogue()["llama-2-7b"]
    assert not entry.shape.tied
    weights = entry.parameters - 32_000 * 4096
    assert _estimate(model="llama-2-7b").seconds == pytest.approx(64_774 * 4 * weights / (950e9 * 0.33))


def test_prices_and_watts_are_the_recipe_s() -> None:
    cost = CostRecipe(per_hour=3.6, per_kwh=0.5, currency="CHF", watts=1000)
    estimate = _estimate(cost=cost)
    assert estimate.energy_wh == pytest.approx(estimate.seconds / 3.6)
    assert estimate.money == pytest.approx(estimate.seconds * 0.001 + estimate.energy_wh / 1000 * 0.5)
    assert estimate.currency == "CHF"
    assert "1000 W from the recipe" in estimate.basis


def test_the_basis_says_what_is_assumed() -> None:
    said = _estimate().basis
    assert "4 operations for each of 135 million weights" in said
    assert "33% (25% to 45%) of the 950 billion a second" in said
    assert "24 W assumed" in said
    machine = replace(TWO_CORES, accelerator="a GPU", accelerator_memory=80 << 30)
    assert "is assumed, since training was not measured on an accelerator" in _estimate(machine=machine).basis


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rate_is_measured_in_a_moment(dtype: torch.dtype) -> None:
    rate = measure_rate(torch.device("cpu"), dtype, seconds=0.1)
    assert rate.dtype == str(dtype).removeprefix("torch.")
    assert 1e8 < rate.operations < 1e14
