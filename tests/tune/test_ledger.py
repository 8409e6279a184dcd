"""The ledger: what is estimated says so, and money follows the user's prices."""

from __future__ import annotations

import pytest

from carrara.recipe import CostRecipe
from carrara.tune import ledger
from carrara.tune.ledger import EnergyMeter, Ledger, ledger_from_json, peak_memory_mb


def test_money_is_hours_and_energy() -> None:
    used = Ledger(7200, 100, 7200.0, 1000.0, 500.0, "measured")
    assert used.tokens_per_second == 1.0
    assert used.money(CostRecipe(per_hour=2.0, per_kwh=0.4)) == pytest.approx(4.2)
    assert ledger_from_json(used.to_json()) == used


def test_energy_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_read_counter", lambda: None)
    clock = iter([0.0, 3600.0, 0.0, 3600.0])
    monkeypatch.setattr(ledger.time, "monotonic", lambda: next(clock))
    given = EnergyMeter(CostRecipe(watts=50))
    assert (given.take(), given.kind) == (50, "from your watts")
    guessed = EnergyMeter(CostRecipe())
    assert guessed.take() > 0
    assert guessed.kind == "estimated"


def test_energy_is_measured_where_the_machine_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = iter([1.0, 3.5, 4.0])
    monkeypatch.setattr(ledger, "_read_counter", lambda: next(counter))
    meter = EnergyMeter(CostRecipe(watts=50))
    assert (meter.take(), meter.take(), meter.kind) == (2.5, 0.5, "measured")


def test_peak_memory_is_plausible() -> None:
    assert 50 < peak_memory_mb() < 100_000
