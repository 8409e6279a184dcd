"""Lengths of many rows in a few numbers."""

from __future__ import annotations

from collections import Counter
from typing import Any


def lengths(counts: Counter[int]) -> dict[str, Any]:
    """Bins that double in width, median, 95th percentile and longest, of how many rows have each length."""
    bins: list[dict[str, int]] = []
    start = 0
    while counts and start <= max(counts):
        end = max(16, start * 2) - 1
        count = sum(number for length, number in counts.items() if start <= length <= end)
        bins.append({"from": start, "to": end, "count": count})
        start = end + 1
    while bins and not bins[0]["count"]:
        bins.pop(0)
    longest = max(counts, default=0)
    return {"bins": bins, "median": _quantile(counts, 0.5), "p95": _quantile(counts, 0.95), "longest": longest}


def _quantile(counts: Counter[int], share: float) -> int:
    """The least length that at least this share of rows does not exceed."""
    reached = 0
    for length in sorted(counts):
        reached += counts[length]
        if reached >= share * counts.total():
            return length
    return 0
