"""The ledger: what is estimated says so, and money follows the user's prices."""

from __future__ import annotations

import pytest

from carrara.recipe import CostRecipe
from carrara.tune.ledger import Ledger, energy_used, ledger_from_json, peak_memory_mb


def test_money_is_hours_and_energy() -> None:
    ledger = Ledger(7200, 100, 7200.0, 1000.0, 500.0, "measured")
    assert ledger.tokens_per_second == 1.0
    assert ledger.money(CostRecipe(per_hour=2.0, per_kwh=0.4)) == pytest.approx(4.2)
    assert ledger_from_json(ledger.to_json()) == ledger


def test_energy_says_where_it_comes_from() -> None:
    assert energy_used(None, 3600, CostRecipe(watts=50)) == (50, "from your watts")
    value, kind = energy_used(None, 3600, CostRecipe())
    assert kind == "estimated"
    assert value > 0


def test_peak_memory_is_plausible() -> None:
    assert 50 < peak_memory_mb() < 100_000
