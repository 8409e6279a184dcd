"""Prices: what figures come to in money, and from when on an own model pays."""

from __future__ import annotations

import pytest

from carrara.recipe import CostRecipe
from carrara.scorecard.cost.prices import Prices, price
from carrara.scorecard.figure import Figure, unknown

PLAIN = Prices(CostRecipe(per_hour=1.0, per_kwh=0.5), label_rate=50, label_wage=20.0, api_price=10.0)


def _figures(rate: float = 100.0, half: float = 10.0) -> list[Figure]:
    """Two hundred rows; an hour and 100 Wh of tuning; 100 tokens a second and 50 Wh a million tokens."""
    return [
        Figure("rows to label", 200, None, "measured", "counted"),
        Figure("time of tuning", 3600.0, (1800.0, 7200.0), "derived", "90 % interval, the planner's"),
        Figure("energy of tuning", 100.0, (50.0, 200.0), "derived", "90 % interval, the planner's"),
        Figure("tokens per second", rate, (rate - half, rate + half), "measured", "timed"),
        Figure("energy per million tokens", 50.0, (20.0, 90.0), "derived", "assumed"),
    ]


def _priced(prices: Prices, figures: list[Figure] | None = None) -> dict[str, Figure]:
    return {each.measure: each for each in price(_figures() if figures is None else figures, prices)}


def test_labelling_tuning_and_serving_in_money() -> None:
    found = _priced(PLAIN)
    assert found["time to label"].value == 4.0
    assert found["money to label"].value == 80.0
    assert found["money of tuning"].value == pytest.approx(1.0 + 0.05)
    assert found["money of tuning"].interval == pytest.approx((0.525, 2.1))
    assert found["money of tuning"].source.startswith("90 % interval")
    hours = 1e6 / 100 / 3600
    assert found["money per million tokens"].value == pytest.approx(hours + 0.025)
    assert "speed measured here, energy derived (assumed); at 1 EUR" in found["money per million tokens"].source
    assert found["money per million tokens"].interval == pytest.approx(
        (1e6 / 110 / 3600 + 0.01, 1e6 / 90 / 3600 + 0.045)
    )


def test_break_even_is_what_was_paid_once_over_what_a_million_saves() -> None:
    found = _priced(PLAIN)
    even, each = found["break-even volume"], found["money per million tokens"]
    assert even.value == pytest.approx(81.05 / (10 - float(each.value or 0)))
    assert each.interval
    ends = 80.525 / (10 - each.interval[0]), 82.1 / (10 - each.interval[1])
    assert even.interval == pytest.approx(ends)
    assert even.unit == "million tokens"


def test_an_api_that_is_cheaper_is_never_broken_even_with_and_the_figure_says_why() -> None:
    even = _priced(Prices(PLAIN.cost, 50, 20.0, 1.0))["break-even volume"]
    assert (even.value, even.interval, even.kind) == ("never", None, "derived")
    assert "cost 2.8 here" in even.source
    assert "and 1 there" in even.source


def test_an_api_within_the_interval_is_not_said_to_be_cheaper() -> None:
    even = _priced(Prices(PLAIN.cost, 50, 20.0, 2.6))["break-even volume"]  # 2.8 here, 2.54 to 3.13
    assert (even.value, even.kind) == (None, "unknown")
    assert "cannot be told" in even.source


def test_equal_costs_are_never_earned_back_and_neither_is_called_cheaper() -> None:
    figures = [figure for figure in _figures(half=0.0) if figure.measure != "energy per million tokens"]
    figures.append(Figure("energy per million tokens", 50.0, None, "measured", "metered"))
    equal = 1e6 / 100 / 3600 * PLAIN.cost.per_hour + 50 * PLAIN.cost.per_kwh / 1000
    even = _priced(Prices(PLAIN.cost, api_price=equal), figures)["break-even volume"]
    assert (even.value, even.meaning) == ("never", "No token is cheaper here than from the API.")


def test_where_only_the_dear_end_is_above_the_api_the_figure_has_no_upper_end() -> None:
    even = _priced(Prices(PLAIN.cost, api_price=2.9))["break-even volume"]
    assert isinstance(even.value, float)
    assert even.interval is None
    assert "and never" in even.source
    assert "labelling is not counted" in even.source


def test_what_is_not_given_is_unknown_with_the_option_that_gives_it() -> None:
    found = _priced(Prices(CostRecipe()))
    assert found["time to label"].kind == "unknown"
    assert "--label-rate" in found["time to label"].source
    assert "break-even volume" not in found
    assert "--label-wage" in _priced(Prices(CostRecipe(), label_rate=10))["money to label"].source


def test_what_was_not_measured_makes_no_money() -> None:
    figures = [unknown("tokens per second", "the model is not here"), *_figures()[:3]]
    found = _priced(PLAIN, figures)
    assert found["money per million tokens"].kind == "unknown"
    assert found["break-even volume"].kind == "unknown"
    assert found["money to label"].value == 80.0


def test_the_fastest_engine_is_the_one_that_is_priced() -> None:
    figures = [*_figures(), Figure("tokens per second (llama.cpp)", 200.0, (190.0, 210.0), "measured", "timed")]
    assert _priced(PLAIN, figures)["money per million tokens"].value == pytest.approx(1e6 / 200 / 3600 + 0.025)
