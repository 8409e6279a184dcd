"""The question that a choice of model opens with: what tuning did to how fast it answers, and to who it is."""

from __future__ import annotations

from dataclasses import dataclass

from carrara.scorecard.card import Card
from carrara.scorecard.figure import CHANGE, Figure
from carrara.scorecard.sides import Row, rows_of, sides_of

_TIMES = ("s", "tokens/s")  # units of what is waited for


@dataclass(frozen=True)
class Answer:
    """What a tuned model and its base measured alike: latency first, then personality.

    `changed` and `unclear` are sentences about both, by whether their intervals tell a difference.
    """

    model: str
    base: str
    latency: tuple[Row, ...]
    personality: tuple[Row, ...]
    changed: tuple[str, ...]
    unclear: int


def answers_of(card: Card) -> Answer | None:
    """The answer that a card of a tuned model gives; None for one that has no base to be set beside."""
    rows = [row for row in rows_of("ease_of_use", sides_of([card])) if _is_compared(row)]
    if not rows or "base" not in card.about:
        return None
    changes = [each for each in card.criteria["ease_of_use"] if each.measure.endswith(CHANGE) and each.interval]
    clear = [each for each in changes if not _holds_zero(each)]
    return Answer(
        model=card.model,
        base=card.about["base"],
        latency=tuple(row for row in rows if row.unit in _TIMES),
        personality=tuple(row for row in rows if row.unit not in _TIMES),
        changed=tuple(f"{each.measure.removesuffix(CHANGE)}: {each.meaning}" for each in clear),
        unclear=len(changes) - len(clear),
    )


def _is_compared(row: Row) -> bool:
    """Whether both sides, base and model, were measured as numbers."""
    return len(row.cells) == 2 and all(cell and _is_measured(cell) for cell in row.cells)


def _is_measured(figure: Figure) -> bool:
    is_number = isinstance(figure.value, (int, float)) and not isinstance(figure.value, bool)
    return figure.kind == "measured" and is_number


def _holds_zero(figure: Figure) -> bool:
    return figure.interval is not None and figure.interval[0] <= 0 <= figure.interval[1]
