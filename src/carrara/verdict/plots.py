"""Small SVG plots without scripts; their colours are classes that the report's style sheet defines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from carrara.verdict import formats
from carrara.verdict.compare import TaskVerdict

Points = list[tuple[float, float]]
Scale = Callable[[float], float]

_MOST_POINTS = 400  # in a curve; a screen shows no more
_MEASURED = {
    "learning_rate": "Learning rate",
    "gradient_norm": "Norm of the gradient before clipping",
    "tokens_per_second": "Tokens a second",
    "memory_mb": "Memory in MB",
}
_LEGEND = {
    "training": '<path class="training" d="M52 14H80"/><text x="86" y="18">training</text>',
    "validation": '<path class="validation" d="M160 14H188"/><text x="194" y="18">validation (dashed)</text>',
}


def curves(curve: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """What was measured in training, over steps: captions and pictures, the losses (nats per token) first."""
    losses = {"training": _points(curve, "loss"), "validation": _points(curve, "validation_loss")}
    found = [("Loss in nats per token", _curves("Loss", losses, "{:.3f}"))]
    for key, caption in _MEASURED.items():
        found.append((caption, _curves(caption, {"training": _points(curve, key)}, "{:.4g}")))
    return [(caption, picture) for caption, picture in found if picture]


def _curves(title: str, series: Mapping[str, Points], number: str) -> Markup:
    """Lines in one frame, each of the class that is its name; empty without a finite point."""
    series = {name: points for name, points in series.items() if points}
    every = [point for points in series.values() for point in points]
    if not every:
        return Markup("")
    steps, values = zip(*every, strict=True)
    low, high = _padded(min(values), max(values))
    first, last = min(steps), max(max(steps), min(steps) + 1)
    x, y = _scale(first, last, 52, 390), _scale(low, high, 196, 30)
    parts = [_rules(low, high, y), _step_labels(first, last, x)]
    parts += [_line(_thinned(points), x, y, name) for name, points in series.items()]
    parts += [_dot(x(step), y(value), 3.5, "validation-dot") for step, value in _thinned(series.get("validation", []))]
    ends = [f"from {number.format(points[0][1])} to {number.format(points[-1][1])}" for points in series.values()]
    if "validation" in series:
        parts += [Markup(_LEGEND[name]) for name in series]
        ends = [f"{name} {end}" for name, end in zip(series, ends, strict=True)]
    return _svg(400, 240, f"{title} over {last:,.0f} steps: {', '.join(ends)}", Markup("").join(parts))


def before_after(row: TaskVerdict, margin: float, reach: tuple[float, float]) -> Markup:
    """One metric: a hollow dot before, a filled one after with the 95 % interval of the difference, the margin dashed.

    `reach` is how far below and above the base score the axis runs, in the metric's unit, so that plots can share it.
    """
    low, high = row.base + reach[0], row.base + reach[1]
    most = 1.0 if row.higher_is_better else high
    x = _scale(low, high, 14, 306)
    limit = x(row.base + _limit(row, margin))
    edge = 14 if row.higher_is_better else 306
    start, end = x(row.base + row.ci[0]), x(row.base + row.ci[1])
    parts = [
        _place('<rect class="lost" x="{}" y="10" width="{}" height="44"/>', min(edge, limit), abs(limit - edge)),
        _place('<path class="limit" d="M{} 10V54"/>', limit),
        _place('<path class="axis" d="M14 60H306"/><path class="axis" d="M{0} 10V60"/>', x(row.base)),
        _place('<path class="interval" d="M{0} 32H{1}M{0} 26V38M{1} 26V38"/>', start, end),
        _dot(x(row.base), 32, 6, "before"),
        _dot(x(row.tuned), 32, 6, "after"),
        *(_value_label(row, tick, x(tick)) for tick in _ticks(max(low, 0.0), min(high, most), 4)),
    ]
    name = f"{row.task} {row.metric}: {formats.value(row, row.base)} before, {formats.value(row, row.tuned)} after"
    interval = f"{formats.difference(row, row.ci[0])} to {formats.difference(row, row.ci[1])} {formats.unit(row)}"
    return _svg(320, 84, f"{name}; 95 % interval of the difference {interval}; {row.verdict}", Markup("").join(parts))


def shared_reach(rows: Sequence[TaskVerdict], margin: float) -> tuple[float, float]:
    """How far below and above their base scores an axis must run to hold all rows, in their unit, with some air."""
    low = min(min(row.ci[0], row.delta, _limit(row, margin), 0.0) for row in rows)
    high = max(max(row.ci[1], row.delta, _limit(row, margin), 0.0) for row in rows)
    air = 0.08 * (high - low) or 0.01
    return low - air, high + air


def _limit(row: TaskVerdict, margin: float) -> float:
    """The difference at which the margin is used up, in the row's unit."""
    return -margin / 100 if row.higher_is_better else margin / 100 * row.base


def _points(curve: Sequence[Mapping[str, Any]], key: str) -> Points:
    pairs = ((float(point["step"]), point.get(key)) for point in curve)
    return [(step, float(value)) for step, value in pairs if value is not None and math.isfinite(value)]


def _thinned(points: Points) -> Points:
    """At most `_MOST_POINTS` of them: the lowest and the highest of each stretch, so that spikes stay."""
    if len(points) <= _MOST_POINTS:
        return points
    width = math.ceil(2 * len(points) / _MOST_POINTS)
    stretches = (points[start : start + width] for start in range(0, len(points), width))
    ends = ({min(part, key=_height), max(part, key=_height)} for part in stretches)
    return sorted(point for pair in ends for point in pair)


def _height(point: tuple[float, float]) -> float:
    return point[1]


def _padded(low: float, high: float) -> tuple[float, float]:
    air = 0.06 * (high - low) or abs(high) or 0.1
    return low - air, high + air


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda number: start + (number - low) / (high - low) * (end - start)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round numbers between low and high, steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _rules(low: float, high: float, y: Scale) -> Markup:
    """Horizontal rules with their height beside them."""
    ticks = _ticks(low, high, 4)
    digits = max(0, -math.floor(math.log10(min((b - a for a, b in pairwise(ticks)), default=1.0)) + 1e-9))
    shape = '<path class="rule" d="M52 {0}H390"/><text class="right" x="46" y="{1}">{2}</text>'
    return Markup("").join(
        _place(shape, y(tick), y(tick) + 4, f"{tick:,.{digits}f}" if digits < 6 else f"{tick:.1e}") for tick in ticks
    )


def _step_labels(first: float, last: float, x: Scale) -> Markup:
    ticks = [tick for tick in _ticks(first, last, 5) if tick == int(tick)]
    labels = [_place('<text class="middle" x="{}" y="214">{}</text>', x(tick), f"{tick:,.0f}") for tick in ticks]
    return Markup("").join([*labels, Markup('<text class="middle" x="221" y="234">steps</text>')])


def _value_label(row: TaskVerdict, tick: float, x: float) -> Markup:
    text = f"{100 * tick:.4g} %" if row.higher_is_better else f"{tick:.4g}"
    return _place('<path class="axis" d="M{0} 60v5"/><text class="middle" x="{0}" y="79">{1}</text>', x, text)


def _line(points: Points, x: Scale, y: Scale, kind: str) -> Markup:
    path = "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in points)
    return _place('<path class="{}" d="M{}"/>', kind, path)


def _dot(x: float, y: float, radius: float, kind: str) -> Markup:
    return _place('<circle class="{}" cx="{}" cy="{}" r="{}"/>', kind, x, y, radius)


def _place(shape: str, *numbers: object) -> Markup:
    """A shape with its numbers filled in, rounded to a tenth; texts are escaped."""
    return Markup(shape).format(*(f"{item:.1f}" if isinstance(item, float) else item for item in numbers))


def _svg(width: int, height: int, label: str, content: Markup) -> Markup:
    shape = '<svg role="img" viewBox="0 0 {0} {1}" aria-label="{2}"><title>{2}</title>{3}</svg>'
    return Markup(shape).format(width, height, label, content)
