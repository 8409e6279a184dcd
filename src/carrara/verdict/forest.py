"""All differences in one picture: intervals around a zero line, the margin shaded, the numbers beside them.

Lengths across are percents and lengths down are pixels, so that a picture fills its place and its text keeps its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from carrara.verdict import formats
from carrara.verdict.compare import TaskVerdict, Verdict
from carrara.verdict.drawing import Scale, scale, ticks
from carrara.verdict.measures import CORRELATION
from carrara.wording import line

_AXIS, _GAP = 42, 26  # pixels under the rows, and above those that decide nothing
_LONGEST_NAME = 24
_POINTS = "points"
_MARGIN = '<rect class="margin" x="{}%" y="{}" width="{}%" height="{}"/>'
_LINE = '<line class="{}" x1="{}%" x2="{}%" y1="{}" y2="{}"/>'
_POINT = '<circle class="point {}" cx="{}%" cy="{}" r="5.5"/>'
_TEXT = '<text class="{}" x="{}%" y="{}">{}</text>'
_NAME = '<text x="0" y="{}"><tspan class="name">{}</tspan> <tspan{}>{}</tspan></text>'
_FRAME = (
    '<svg role="img" class="forest {0}" width="100%" style="height: {1}px" aria-labelledby="{2}-title {2}-desc">'
    '<title id="{2}-title">{3}</title><desc id="{2}-desc">{4}</desc>{5}</svg>'
)


@dataclass(frozen=True)
class _Layout:
    """Where things stand in a row: the plot from `left` to `right`, the numbers at `numbers`, all in percent.

    Heights are pixels from the row's top; the metric stands behind the name, or `below` it, left of the numbers.
    """

    kind: str
    left: float
    right: float
    numbers: float
    row: int
    name_y: int
    plot_y: int
    numbers_y: int
    below: bool


_LAYOUTS = (
    _Layout("wide", left=27, right=68, numbers=90, row=32, name_y=21, plot_y=16, numbers_y=21, below=False),
    _Layout("narrow", left=2, right=98, numbers=100, row=68, name_y=17, plot_y=32, numbers_y=50, below=True),
)


@dataclass(frozen=True)
class Panel:
    """The rows of one unit on one axis, drawn for wide and for narrow screens."""

    unit: str
    higher_is_better: bool
    pictures: tuple[Markup, ...]


def panels(verdict: Verdict) -> list[Panel]:
    """The differences by unit, points first; in each the primary metrics of the tasks first."""
    primaries = verdict.primaries()
    rows = [*primaries, *(row for row in verdict.verdicts if row not in primaries)]
    units = dict.fromkeys((formats.unit(row), row.higher_is_better) for row in rows)
    found: list[Panel] = []
    for unit, higher in sorted(units, key=lambda each: each[0] != _POINTS):
        alike = [row for row in rows if (formats.unit(row), row.higher_is_better) == (unit, higher)]
        first = sum(row in primaries for row in alike)
        number = len(found) + 1
        pictures = tuple(_picture(alike, first, verdict.margin, layout, number) for layout in _LAYOUTS)
        found.append(Panel(unit, higher, pictures))
    return found


def _picture(rows: Sequence[TaskVerdict], first: int, margin: float, layout: _Layout, number: int) -> Markup:
    """One panel in one layout; the first `first` rows are primary metrics."""
    x = scale(*_reach(rows, margin), layout.left, layout.right)
    tops = [index * layout.row + (_GAP if index >= first else 0) for index in range(len(rows))]
    floor = tops[-1] + layout.row
    parts = [_shade(row, margin, top, layout, x) for row, top in zip(rows, tops, strict=True)]
    parts.append(_place(_LINE, "zero", x(0), x(0), 0, floor))
    parts += [_row(row, top, layout, x) for row, top in zip(rows[:first], tops[:first], strict=True)]
    if first < len(rows):
        parts.append(_place(_TEXT, "left", 0, tops[first] - 8, "Other metrics, which decide nothing"))
        others = (_row(row, top, layout, x) for row, top in zip(rows[first:], tops[first:], strict=True))
        parts.append(Markup('<g class="other">{}</g>').format(Markup("").join(others)))
    parts.append(_axis(rows, margin, floor, layout, x))
    told = "; ".join(f"{row.task} {row.metric} {_numbers(row)}, {row.verdict}" for row in rows)
    title = f"Differences with 95 % intervals in {formats.unit(rows[0])}"
    identity = f"differences-{layout.kind}-{number}"
    return Markup(_FRAME).format(layout.kind, floor + _AXIS, identity, title, told, Markup("").join(parts))


def _shade(row: TaskVerdict, margin: float, top: int, layout: _Layout, x: Scale) -> Markup:
    start, end = sorted((x(0), x(_limit(row, margin))))
    return _place(_MARGIN, start, top, end - start, layout.row)


def _row(row: TaskVerdict, top: int, layout: _Layout, x: Scale) -> Markup:
    """One metric: its name, its interval, its numbers and its verdict."""
    kind = row.verdict.replace("'", "-").replace(" ", "-")
    low, high, y = x(row.ci[0]), x(row.ci[1]), top + layout.plot_y
    place = Markup(' x="0" y="{}"').format(top + layout.numbers_y) if layout.below else ""
    parts = [
        _place(_NAME, top + layout.name_y, line(row.task, _LONGEST_NAME), place, row.metric),
        _place(_LINE, f"interval {kind}", low, high, y, y),
        *(_place(_LINE, f"interval {kind}", end, end, y - 5, y + 5) for end in (low, high)),
        _place(_POINT, kind, x(row.delta), y),
        _place(_TEXT, "right", layout.numbers, top + layout.numbers_y, _numbers(row)),
        _place(_TEXT, f"right word {kind}", 100, top + layout.name_y, row.verdict),
    ]
    return Markup("").join(parts)


def _axis(rows: Sequence[TaskVerdict], margin: float, floor: int, layout: _Layout, x: Scale) -> Markup:
    """The axis with its labels, and under it the side on which the tuned model is better."""
    marks = ticks(*_reach(rows, margin), 4)
    parts = [_place(_LINE, "axis", layout.left, layout.right, floor, floor)]
    parts += [_place(_LINE, "axis", x(mark), x(mark), floor, floor + 5) for mark in marks]
    parts += [_place(_TEXT, "middle", x(mark), floor + 19, _mark(rows[0], mark)) for mark in marks]
    if rows[0].higher_is_better:
        parts.append(_place(_TEXT, "right", layout.right, floor + 37, "better →"))
    else:
        parts.append(_place(_TEXT, "left", layout.left, floor + 37, "← better"))
    return Markup("").join(parts)


def _reach(rows: Sequence[TaskVerdict], margin: float) -> tuple[float, float]:
    """How far the axis must run to hold all rows and their margins, with some air."""
    numbers = [0.0, *(number for row in rows for number in (*row.ci, row.delta, _limit(row, margin)))]
    air = 0.05 * (max(numbers) - min(numbers)) or 0.01
    return min(numbers) - air, max(numbers) + air


def _limit(row: TaskVerdict, margin: float) -> float:
    """The difference at which the margin is used up, in the row's unit."""
    allowed = margin / 100 if formats.unit(row) in (_POINTS, CORRELATION) else margin / 100 * row.base
    return -allowed if row.higher_is_better else allowed


def _numbers(row: TaskVerdict) -> str:
    low, high = (formats.difference(row, end) for end in row.ci)
    return f"{formats.difference(row, row.delta)} ({low} to {high})"


def _mark(row: TaskVerdict, number: float) -> str:
    """A tick's number without the zeros that tell nothing."""
    text = formats.difference(row, number) if number else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _place(shape: str, *values: object) -> Markup:
    """A shape with its values filled in, numbers to a hundredth of a percent; texts are escaped."""
    return Markup(shape).format(*(f"{value:.2f}" if isinstance(value, float) else value for value in values))
