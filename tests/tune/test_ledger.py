"""The ledger: what is estimated says so, and money follows the user's prices."""

from __future__ import annotations

import pytest

from carrara.models.interval import Interval
from carrara.models.plan import Plan
from carrara.recipe import CostRecipe
from carrara.tune import ledger
from carrara.tune.ledger import EnergyMeter, Ledger, compare_with_plan


def test_money_is_hours_and_energy() -> None:
    used = Ledger(7200, 100, 7200.0, 1000.0, 500.0, "measured")
    assert used.tokens_per_second == 1.0
    assert used.money(CostRecipe(per_hour=2.0, per_kwh=0.4)) == pytest.approx(4.2)
    assert Ledger(**used.to_json()) == used
    longer = Ledger(7200, 100, 7200.0, 1000.0, 500.0, "measured", validation_seconds=1800.0)
    assert longer.money(CostRecipe(per_hour=2.0, per_kwh=0.4)) == pytest.approx(5.2)


def test_energy_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "read_energy", lambda: None)
    clock = iter([0.0, 3600.0, 0.0, 3600.0])
    monkeypatch.setattr(ledger.time, "monotonic", lambda: next(clock))
    given = EnergyMeter(CostRecipe(watts=50))
    assert (given.take(), given.kind) == (50, "from your watts")
    guessed = EnergyMeter(CostRecipe())
    assert guessed.take() > 0
    assert guessed.kind == "estimated"


def test_energy_is_measured_where_the_machine_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter([1.0, 3.5, 4.0])
    monkeypatch.setattr(ledger, "read_energy", lambda: next(counter))
    meter = EnergyMeter(CostRecipe(watts=50))
    assert (meter.take(), meter.take(), meter.kind) == (2.5, 0.5, "measured")


def test_what_it_was_stands_beside_what_was_planned() -> None:
    plan = Plan(
        method="lora",
        epochs=1.0,
        steps=10,
        tokens=7200,
        micro_batch_tokens=1024,
        checkpoint_activations=False,
        batching="sorted",
        memory=Interval(1.2e9, 1.1e9, 1.3e9),
        parts={},
        seconds=Interval(90.0, 60.0, 120.0),
        energy_wh=Interval(1.0, 0.5, 2.0),
        money=Interval(0.0, 0.0, 0.0),
        currency="EUR",
        reason="",
        basis="",
    )
    used = Ledger(7200, 100, 80.0, 1000.0, 1.0, "measured", validation_seconds=20.0)
    memory, seconds, energy, money = compare_with_plan(used, plan, CostRecipe(per_kwh=0))
    assert (memory.was, memory.within, memory.error) == (1e9, False, pytest.approx(0.2))
    assert (seconds.was, seconds.within, seconds.error) == (100, True, pytest.approx(-0.1))
    assert (energy.error, energy.within) == (0, True)
    assert (money.was, money.error) == (0, 0)
    assert memory.to_json()["planned"] == {"likely": 1.2e9, "low": 1.1e9, "high": 1.3e9}
