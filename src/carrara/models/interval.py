"""A number that is not known exactly: what is likely, and between what it lies nine times in ten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """`low <= likely <= high`."""

    likely: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        return Interval(self.likely * factor, self.low * factor, self.high * factor)

    def by(self, other: Interval) -> Interval:
        """The product of two positive intervals, as if what is high in one were high in the other."""
        return Interval(self.likely * other.likely, self.low * other.low, self.high * other.high)

    def plus(self, other: Interval) -> Interval:
        return Interval(self.likely + other.likely, self.low + other.low, self.high + other.high)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def shown(self, number: Callable[[float], str]) -> str:
        """Such as `3.1 (2.6 to 3.9)`, each number written by a function."""
        return f"{number(self.likely)} ({number(self.low)} to {number(self.high)})"
