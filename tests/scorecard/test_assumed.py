"""The planner without torch: a machine that is only looked at, rates that are assumed, intervals that say so."""

from __future__ import annotations

import pytest

from carrara.data.render.plan import Lengths
from carrara.models.machine import Machine
from carrara.recipe import CostRecipe
from carrara.scorecard import assumed
from carrara.scorecard.assumed import USUAL, glance, plan_assumed, plans_of
from tests.scorecard.invented import candidate, entry

TWO_CORES = Machine(2, 16 << 30, 12 << 30, None, 0, bfloat16=True)


def test_a_limit_is_the_memory_to_work_in() -> None:
    assert glance(3e9).working_memory == 3e9
    assert glance(None).working_memory > 1e8


def test_with_an_accelerator_its_own_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assumed, "_accelerator", lambda: ("H100", 80 << 30))
    assert glance(None).working_memory == 80 << 30
    assert glance(10e9).working_memory == 10e9
    own = candidate("llama-3.1-8b")
    fast, slow = (plans_of(own, USUAL, machine, CostRecipe())["lora"] for machine in (glance(None), TWO_CORES))
    assert fast.seconds.likely < slow.seconds.likely / 50
    assert "H100" in fast.basis


def test_the_interval_holds_what_a_real_run_took() -> None:
    """1,978 rows of 63,194 tokens, 10,639 of them learned, took 92 s on two cores that others used too."""
    own = entry("smollm2-135m-instruct")
    rows = Lengths([16, 18, 20, 22, 24, 26, 50, 80] * 247 + [32, 32], learned=10_639 / 63_194)  # as unlike as they are
    plan = plan_assumed(own.shape, own.parameters, "lora", rows, TWO_CORES, CostRecipe())
    assert plan.seconds.low < 92 < plan.seconds.high
    assert plan.memory.low < 1.76e9 < plan.memory.high
    assert plan.seconds.high / plan.seconds.low > 10  # nothing was measured


def test_what_does_not_fit_says_what_is_missing() -> None:
    own = entry("llama-3.1-70b")
    plan = plan_assumed(own.shape, own.parameters, "full", USUAL, TWO_CORES, CostRecipe())
    assert not plan.fits
    assert plan.reason.endswith("GB more")


def test_qlora_needs_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assumed, "find_spec", lambda _: None)
    plans = plans_of(candidate(), USUAL, TWO_CORES, CostRecipe())
    assert plans["qlora"].reason == "needs bitsandbytes"
    assert plans["lora"].fits


def test_an_embedder_has_no_plan() -> None:
    assert plans_of(candidate("all-minilm-l6-v2"), USUAL, TWO_CORES, CostRecipe()) == {}
