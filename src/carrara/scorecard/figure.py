"""A figure of a scorecard: what was found, how far it can be trusted, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Criterion = Literal["accuracy", "creativity", "privacy", "ease_of_use", "cost"]
CRITERIA: tuple[Criterion, ...] = ("accuracy", "creativity", "privacy", "ease_of_use", "cost")
Kind = Literal["measured", "published", "derived", "unknown"]
Better = Literal["higher", "lower"]
BASE, CHANGE = " (base)", " (change)"  # behind a measure: of what the model was tuned from; against it


@dataclass(frozen=True)
class Figure:
    """One figure of one criterion.

    `measure` names it, the same for every model, so that figures of two cards can be put side by side. `interval` is
    one of 95 % unless `source` says otherwise; `kind` says whether it was measured here, published (`source` names
    where and by which protocol), derived from what stands in the card, or is unknown, with the reason as `source` and
    None as `value`. `better` is None where neither end is good in itself, and `meaning` a plain sentence.
    """

    measure: str
    value: float | str | bool | None
    interval: tuple[float, float] | None
    kind: Kind
    source: str
    unit: str = ""
    better: Better | None = None
    meaning: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def figure_from_json(value: Mapping[str, Any]) -> Figure:
    """The inverse of `Figure.to_json`."""
    interval = value["interval"]
    return Figure(**{**value, "interval": None if interval is None else (interval[0], interval[1])})


def unknown(measure: str, why: str) -> Figure:
    """A figure that nobody knows, with the reason, so that a gap in a card can be seen."""
    return Figure(measure, None, None, "unknown", why)
