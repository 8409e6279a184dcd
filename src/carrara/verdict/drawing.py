"""What the report's pictures share: scales, round numbers, shapes with their numbers filled in."""

from __future__ import annotations

import math
from collections.abc import Callable

from markupsafe import Markup

Scale = Callable[[float], float]


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """The straight line that takes low to start and high to end."""
    return lambda number: start + (number - low) / (high - low) * (end - start)


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` + 1 round numbers between low and high, steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def place(shape: str, *numbers: object) -> Markup:
    """A shape with its numbers filled in, rounded to a tenth; texts are escaped."""
    return Markup(shape).format(*(f"{item:.1f}" if isinstance(item, float) else item for item in numbers))


def dot(x: float, y: float, radius: float, kind: str) -> Markup:
    return place('<circle class="{}" cx="{}" cy="{}" r="{}"/>', kind, x, y, radius)


def picture(width: int, height: int, label: str, content: Markup) -> Markup:
    """An SVG whose text alternative is its label."""
    shape = '<svg role="img" viewBox="0 0 {0} {1}" aria-label="{2}"><title>{2}</title>{3}</svg>'
    return Markup(shape).format(width, height, label, content)
