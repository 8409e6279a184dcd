"""The learning curves as small SVG plots without scripts; their colours are classes of the report's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from carrara.verdict.drawing import Scale, dot, picture, place, scale, ticks

Points = list[tuple[float, float]]

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
    return [(caption, plot) for caption, plot in found if plot]


def _curves(title: str, series: Mapping[str, Points], number: str) -> Markup:
    """Lines in one frame, each of the class that is its name; empty without a finite point."""
    series = {name: points for name, points in series.items() if points}
    every = [point for points in series.values() for point in points]
    if not every:
        return Markup("")
    steps, values = zip(*every, strict=True)
    low, high = _padded(min(values), max(values))
    first, last = min(steps), max(max(steps), min(steps) + 1)
    x, y = scale(first, last, 52, 390), scale(low, high, 196, 30)
    parts = [_rules(low, high, y), _step_labels(first, last, x)]
    parts += [_line(_thinned(points), x, y, name) for name, points in series.items()]
    parts += [dot(x(step), y(value), 3.5, "validation-dot") for step, value in _thinned(series.get("validation", []))]
    ends = [f"from {number.format(points[0][1])} to {number.format(points[-1][1])}" for points in series.values()]
    if "validation" in series:
        parts += [Markup(_LEGEND[name]) for name in series]
        ends = [f"{name} {end}" for name, end in zip(series, ends, strict=True)]
    return picture(400, 240, f"{title} over {last:,.0f} steps: {', '.join(ends)}", Markup("").join(parts))


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


def _rules(low: float, high: float, y: Scale) -> Markup:
    """Horizontal rules with their height beside them."""
    heights = ticks(low, high, 4)
    digits = max(0, -math.floor(math.log10(min((b - a for a, b in pairwise(heights)), default=1.0)) + 1e-9))
    shape = '<path class="rule" d="M52 {0}H390"/><text class="right" x="46" y="{1}">{2}</text>'
    return Markup("").join(
        place(shape, y(tick), y(tick) + 4, f"{tick:,.{digits}f}" if digits < 6 else f"{tick:.1e}") for tick in heights
    )


def _step_labels(first: float, last: float, x: Scale) -> Markup:
    steps = [tick for tick in ticks(first, last, 5) if tick == int(tick)]
    labels = [place('<text class="middle" x="{}" y="214">{}</text>', x(step), f"{step:,.0f}") for step in steps]
    return Markup("").join([*labels, Markup('<text class="middle" x="221" y="234">steps</text>')])


def _line(points: Points, x: Scale, y: Scale, kind: str) -> Markup:
    path = "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in points)
    return place('<path class="{}" d="M{}"/>', kind, path)
