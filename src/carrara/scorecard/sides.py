"""Cards side by side: the same measure of all models, and of what they were tuned from, on one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.scorecard.card import Card
from carrara.scorecard.figure import BASE, CRITERIA, Better, Criterion, Figure

_MINUS = "\N{MINUS SIGN}"
_NOTHING = 5e-6  # below which a figure is shown as 0


@dataclass(frozen=True)
class Side:
    """A column: a card's own figures, or those of what the model was tuned from."""

    name: str
    card: Card
    is_base: bool


@dataclass(frozen=True)
class Row:
    """One measure with the figure of each side, None where it has none."""

    measure: str
    unit: str
    better: Better | None
    cells: tuple[Figure | None, ...]


def sides_of(cards: Sequence[Card]) -> list[Side]:
    """Each card, with its base before it where the card has figures of that."""
    found: list[Side] = []
    for card in cards:
        if any(each.measure.endswith(BASE) for told in card.criteria.values() for each in told):
            found.append(Side(f"{card.about.get('base', 'base')} (base)", card, True))
        found.append(Side(card.model, card, False))
    return found


def rows_of(criterion: Criterion, sides: Sequence[Side]) -> list[Row]:
    """The measures of a criterion, in the order in which the cards name them."""
    columns = [_own(side, criterion) for side in sides]
    after = sorted(zip(sides, columns, strict=True), key=lambda pair: pair[0].is_base)  # models name more than bases
    measures = dict.fromkeys(measure for _, column in after for measure in column)
    return [_row(measure, [column.get(measure) for column in columns]) for measure in measures]


def all_rows(sides: Sequence[Side]) -> dict[Criterion, list[Row]]:
    return {criterion: rows_of(criterion, sides) for criterion in CRITERIA}


def _own(side: Side, criterion: Criterion) -> dict[str, Figure]:
    told = side.card.criteria[criterion]
    return {each.measure.removesuffix(BASE): each for each in told if each.measure.endswith(BASE) == side.is_base}


def _row(measure: str, cells: Sequence[Figure | None]) -> Row:
    known = [cell for cell in cells if cell and cell.kind != "unknown"]
    better: Better | None = next((cell.better for cell in known if cell.better), None)
    return Row(measure, known[0].unit if known else "", better, tuple(cells))


def shown(figure: Figure) -> str:
    """A figure's value with its interval, without its unit, such as `0.61 (0.58 to 0.64)`."""
    if figure.value is None:
        return "unknown"
    if not figure.interval:
        return number(figure.value)
    low, high = figure.interval
    return f"{number(figure.value)} ({number(low)} to {number(high)})"


def number(value: float | str | bool) -> str:
    """A value as people read it: four digits that tell, thousands apart, a true minus sign; next to nothing is 0."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if abs(value) < _NOTHING:
        return "0"
    text = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"
    return text.replace("-", _MINUS)
