"""Numbers as people read them: shares as percent and points, losses with three decimals, a true minus sign."""

from __future__ import annotations

from carrara.verdict.compare import TaskVerdict
from carrara.verdict.measures import POINTS

_MINUS = "\N{MINUS SIGN}"


def value(row: TaskVerdict, number: float) -> str:
    """A score in the unit of the row's metric, such as `61.2 %` or `2.134`."""
    return f"{100 * number:.1f} %" if row.unit == POINTS else f"{number:.3f}"


def difference(row: TaskVerdict, number: float) -> str:
    """A difference of two scores with its sign, such as `+1.80` points or `-0.120`."""
    text = f"{100 * number:+z.2f}" if row.unit == POINTS else f"{number:+z.3f}"
    return text.replace("-", _MINUS)


def unit(row: TaskVerdict) -> str:
    """The unit of a row's differences."""
    return row.unit


def p_value(p: float) -> str:
    """A p value with three decimals, never rounded to 0."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
