"""What was counted of a model and of its base as figures: each by itself, and what tuning changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.errors import Refusal
from carrara.scorecard.ease_of_use.tally import Range, Tally, change_interval, mean_interval, share_interval
from carrara.scorecard.figure import BASE, CHANGE, Better, Figure, unknown


@dataclass(frozen=True)
class Counted:
    """What was counted of the answers of one model, and a sentence that is true for it; shares are told in percent."""

    measure: str
    tally: Tally
    source: str
    meaning: str
    better: Better | None = None
    unit: str = "%"

    @property
    def value(self) -> float:
        return self.shown(self.tally.mean)

    @property
    def is_share(self) -> bool:
        return self.unit == "%"

    def shown(self, value: float) -> float:
        return 100 * value if self.is_share else value


def compared(mine: Sequence[Counted], base: Sequence[Counted] | Refusal | None) -> list[Figure]:
    """The figures of a model, and beside each that of its base and their difference; None for one without a base."""
    if base is None:
        return [_figure(counted) for counted in mine]
    if isinstance(base, Refusal):
        return [each for own in mine for each in (_figure(own), unknown(own.measure + BASE, str(base)))]
    return [
        each
        for own, before in zip(mine, base, strict=True)
        for each in (_figure(own), _figure(before, BASE), _change(own, before))
    ]


def changed(value: float, interval: Range, unit: str, what: str = "answers") -> str:
    """What tuning did to a measure, in a sentence that its interval allows."""
    if interval[0] <= 0 <= interval[1]:
        return f"Whether tuning changed this cannot be told from these {what}."
    return f"Tuning {'raised' if value > 0 else 'lowered'} this by {abs(value):.3g} {unit}."


def _figure(counted: Counted, end: str = "") -> Figure:
    interval = (share_interval if counted.is_share else mean_interval)(counted.tally)
    return Figure(
        counted.measure + end,
        counted.value,
        _shown(counted, interval),
        "measured",
        counted.source,
        counted.unit,
        counted.better,
        counted.meaning,
    )


def _change(own: Counted, before: Counted) -> Figure:
    value, (low, high) = own.value - before.value, _shown(own, change_interval(own.tally, before.tally, own.is_share))
    interval = (max(low, -100.0), min(high, 100.0)) if own.is_share else (low, high)
    unit = "points" if own.is_share else own.unit
    return Figure(
        own.measure + CHANGE,
        value,
        interval,
        "measured",
        f"{own.source}; the model less its base",
        unit,
        own.better,
        changed(value, interval, unit),
    )


def _shown(counted: Counted, interval: Range) -> Range:
    return counted.shown(interval[0]), counted.shown(interval[1])
