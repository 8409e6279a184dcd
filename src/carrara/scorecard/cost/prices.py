"""What the figures of cost come to in money, at the prices that the user gives, and from when on they pay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carrara.models.interval import Interval
from carrara.recipe import CostRecipe
from carrara.scorecard.cost import data, serving, tuning
from carrara.scorecard.figure import Figure, unknown

LABEL, LABELLED, TUNED = "time to label", "money to label", "money of tuning"
SERVED, API, EVEN = "money per million tokens", "price of the API per million tokens", "break-even volume"


@dataclass(frozen=True)
class Prices:
    """Prices in `cost.currency`: `label_rate` in rows an hour, `label_wage` an hour, `api_price` a million tokens."""

    cost: CostRecipe
    label_rate: float | None = None
    label_wage: float | None = None
    api_price: float | None = None


def price(figures: Sequence[Figure], prices: Prices) -> list[Figure]:
    """The figures in money that follow from those that were measured or planned."""
    known = {figure.measure: figure for figure in figures}
    labelled = _labelling(known, prices)
    tuned = _tuned(known, prices)
    served = _served(known, prices)
    found = [*labelled, tuned, served]
    if prices.api_price is not None:
        wages = next((each for each in labelled if each.measure == LABELLED), None)
        found += [_api(prices), _break_even(wages, tuned, served, prices)]
    return found


def _labelling(known: Mapping[str, Figure], prices: Prices) -> list[Figure]:
    rows = known.get(data.ROWS)
    if rows is None or not isinstance(rows.value, int | float):
        return []
    if not prices.label_rate:
        return [unknown(LABEL, "no rate is given; --label-rate says how many rows somebody labels in an hour")]
    hours = rows.value / prices.label_rate
    source = f"{rows.value:,} rows at {prices.label_rate:g} an hour, which you gave"
    meaning = f"Somebody sits at it for {hours / 8:,.1f} days of 8 hours."
    found = [Figure(LABEL, hours, None, "derived", source, "h", "lower", meaning)]
    if prices.label_wage is None:
        return [*found, unknown(LABELLED, "no wage is given; --label-wage says what an hour of labelling costs")]
    money = hours * prices.label_wage
    source = f"{hours:,.1f} h at {prices.label_wage:g} {prices.cost.currency}, which you gave"
    meaning = "Paid once, before anything is tuned."
    return [*found, Figure(LABELLED, money, None, "derived", source, prices.cost.currency, "lower", meaning)]


def _tuned(known: Mapping[str, Figure], prices: Prices) -> Figure:
    """Hours of the machine and its energy."""
    time, energy = _interval(known.get(tuning.TIME)), _interval(known.get(tuning.ENERGY))
    if time is None or energy is None:
        return unknown(TUNED, "neither time nor energy of tuning is known")
    money = time.times(prices.cost.per_hour / 3600).plus(energy.times(prices.cost.per_kwh / 1000))
    source = known[tuning.TIME].source
    sure = "90 % interval, " if source.startswith("90 %") else ""
    return _money(
        TUNED, money, f"{sure}time and energy of tuning, {_stated(prices)}", "Paid once, for each run.", prices
    )


def _served(known: Mapping[str, Figure], prices: Prices) -> Figure:
    """Of a million tokens, one answer at a time, by the fastest engine that was timed."""
    energy = _interval(known.get(serving.ENERGY))
    speeds = [found for name in (serving.FAST, serving.SPEED) if (found := _interval(known.get(name)))]
    if energy is None or not speeds:
        return unknown(SERVED, "how fast it answers here was not measured")
    best = max(speeds, key=lambda each: each.likely)
    hours = Interval(*(1e6 / 3600 / rate for rate in (best.likely, best.high, best.low)))
    money = hours.times(prices.cost.per_hour).plus(energy.times(prices.cost.per_kwh / 1000))
    meaning = "What answering costs as long as the machine is busy; standing idle is not counted."
    spent = known[serving.ENERGY]
    source = f"speed measured here, energy {spent.kind} ({spent.source}); {_stated(prices)}"
    return _money(SERVED, money, source, meaning, prices)


def _api(prices: Prices) -> Figure:
    meaning = "What the other way costs."
    return Figure(API, prices.api_price, None, "derived", "you gave it", prices.cost.currency, "lower", meaning)


def _break_even(labelled: Figure | None, tuned: Figure, served: Figure, prices: Prices) -> Figure:
    """Millions of tokens after which what was paid once is earned back; "never" where none is cheaper here."""
    each, once = _interval(served), _interval(tuned)
    assert prices.api_price is not None, "asked for where a price is given"
    if each is None or once is None:
        missing = served if each is None else tuned
        return unknown(EVEN, f"{missing.measure} is not known: {missing.source}")
    wages = _interval(labelled) or Interval(0.0, 0.0, 0.0)
    once = once.plus(wages)
    counted = "labelling and tuning" if wages.likely else "tuning; labelling is not counted"
    price, paid = prices.api_price, f"{once.likely:.4g} {prices.cost.currency}"
    if each.likely >= price:
        why = f"a million tokens cost {each.likely:.3g} here ({each.low:.3g} to {each.high:.3g}) and {price:.3g} there"
        if each.low < price:
            return unknown(EVEN, f"it cannot be told whether the own model is ever cheaper: {why}")
        meaning = "No token is cheaper here than from the API."
        return Figure(EVEN, "never", None, "derived", why, "million tokens", "lower", meaning)
    volume, least = once.likely / (price - each.likely), once.low / (price - each.low)
    most = once.high / (price - each.high) if each.high < price else math.inf
    source = f"{paid} paid once ({counted}) over what each million saves, {price - each.likely:.3g}"
    if math.isinf(most):
        source += f"; between {least:.3g} and never, since a million tokens may cost {each.high:.3g} here"
    meaning = f"From {volume:,.3g} million tokens on, the own model is cheaper than the API."
    ends = None if math.isinf(most) else (least, most)
    return Figure(EVEN, volume, ends, "derived", source, "million tokens", "lower", meaning)


def _interval(figure: Figure | None) -> Interval | None:
    """A figure's number with its ends, or with itself as both."""
    if figure is None or isinstance(figure.value, bool) or not isinstance(figure.value, int | float):
        return None
    return Interval(figure.value, *(figure.interval or (figure.value, figure.value)))


def _money(measure: str, money: Interval, source: str, meaning: str, prices: Prices) -> Figure:
    ends = (money.low, money.high)
    return Figure(measure, money.likely, ends, "derived", source, prices.cost.currency, "lower", meaning)


def _stated(prices: Prices) -> str:
    cost = prices.cost
    return f"at {cost.per_hour:g} {cost.currency} an hour and {cost.per_kwh:g} {cost.currency} a kWh"
