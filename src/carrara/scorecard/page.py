"""The page: cards side by side in one HTML file, a dot with its interval for each figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from carrara.pages import environment
from carrara.scorecard.card import Card
from carrara.scorecard.figure import CRITERIA, Figure
from carrara.scorecard.question import answers_of
from carrara.scorecard.sides import Row, Side, number, rows_of, shown, sides_of
from carrara.scorecard.standings import Standings
from carrara.verdict.drawing import Scale, place, scale, ticks
from carrara.workspace import write_atomically

_LEFT, _RIGHT = 2.0, 98.0  # percent of the width between which an axis runs
_STRIP = '<svg class="strip" aria-hidden="true" width="100%" style="height: 18px">{}</svg>'
_AXIS = '<svg class="strip" aria-hidden="true" width="100%" style="height: 24px">{}</svg>'
_LINE = '<line class="{}" x1="{}%" x2="{}%" y1="{}" y2="{}"/>'
_TEXT = '<text class="{}" x="{}%" y="18">{}</text>'
_MARK = '<svg x="{}%" y="9" overflow="visible"><path class="{}" d="{}"/></svg>'
_SHAPES = {
    "measured": "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0 -11 0Z",
    "published": "M0 -7L7 0L0 7L-7 0Z",
    "derived": "M0 -6.5L6.5 5.5L-6.5 5.5Z",
}
_WORDS = {
    "measured": "measured here",
    "published": "published, with its source",
    "derived": "derived from other figures",
    "unknown": "unknown, with the reason",
}


@dataclass(frozen=True)
class Cell:
    """A side's figure of a measure: its words, and its dot with interval where it is a number."""

    side: Side
    figure: Figure
    text: str
    strip: Markup | None


@dataclass(frozen=True)
class Measure:
    """A measure with what each side has of it, over one axis."""

    row: Row
    told: tuple[Cell, ...]
    axis: Markup | None


def write_page(path: Path, cards: Sequence[Card], standings: Standings | None) -> None:
    """Write the cards to `path`, whole or not at all."""
    sides = sides_of(cards)
    html = (
        environment(Path(__file__).parent)
        .get_template("scorecard.html.j2")
        .render(
            cards=cards,
            sides=sides,
            criteria={name: [_measure(row, sides) for row in rows_of(name, sides)] for name in CRITERIA},
            answers=[answer for card in cards if (answer := answers_of(card))],
            standings=standings,
            words=_WORDS,
            legend={kind: _legend(kind) for kind in _SHAPES},
            shown=shown,
        )
    )
    write_atomically(path, html.encode("utf-8", errors="replace"))  # a hostile name may hold half a character


def _measure(row: Row, sides: Sequence[Side]) -> Measure:
    cells = [(side, cell) for side, cell in zip(sides, row.cells, strict=True) if cell]
    reach = _reach([cell for _, cell in cells])
    x = scale(*reach, _LEFT, _RIGHT) if reach else None
    told = tuple(Cell(side, cell, shown(cell), _strip(cell, side.is_base, x)) for side, cell in cells)
    return Measure(row, told, _axis(reach, x) if reach and x else None)


def _reach(figures: Sequence[Figure]) -> tuple[float, float] | None:
    """From where to where the axis of some figures runs; None where nothing has a width to draw."""
    ends = [end for figure in figures if (value := _number(figure)) is not None for end in (value, *_interval(figure))]
    if len(set(ends)) < 2:
        return None
    air = 0.04 * (max(ends) - min(ends))
    low = 0.0 if min(ends) >= 0 and min(ends) < 0.5 * max(ends) else min(ends) - air  # near 0, from 0
    return low, max(ends) + air


def _number(figure: Figure) -> float | None:
    return (
        float(figure.value) if isinstance(figure.value, (int, float)) and not isinstance(figure.value, bool) else None
    )


def _interval(figure: Figure) -> tuple[float, ...]:
    return figure.interval or ()


def _strip(figure: Figure, is_base: bool, x: Scale | None) -> Markup | None:
    value = _number(figure)
    if value is None or x is None or figure.kind not in _SHAPES:
        return None
    parts = [place(_LINE, "rule", _LEFT, _RIGHT, 9, 9)]
    if figure.interval:
        low, high = (x(end) for end in figure.interval)
        parts.append(place(_LINE, "interval", low, high, 9, 9))
        parts += [place(_LINE, "interval", end, end, 4, 14) for end in (low, high)]
    parts.append(place(_MARK, x(value), "mark before" if is_base else "mark", _SHAPES[figure.kind]))
    return place(_STRIP, Markup("").join(parts))


def _axis(reach: tuple[float, float], x: Scale) -> Markup:
    marks = ticks(*reach, 4)
    parts = [place(_LINE, "rule", _LEFT, _RIGHT, 1, 1)]
    parts += [place(_LINE, "rule", x(mark), x(mark), 1, 6) for mark in marks]
    parts += [place(_TEXT, _anchor(x(mark)), x(mark), number(mark)) for mark in marks]
    return place(_AXIS, Markup("").join(parts))


def _anchor(x: float) -> str:
    """How a label stands at its tick, so that the ends stay inside."""
    return "left" if x < 8 else "right" if x > 92 else "middle"


def _legend(kind: str) -> Markup:
    shape = '<svg aria-hidden="true" class="sample" viewBox="-9 -9 18 18"><path class="mark" d="{}"/></svg>'
    return place(shape, _SHAPES[kind])
