"""Finding personal data and secrets in a text: the built-in detectors, then the plugins."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from carrara.data.checks.personal.plugins import Plugin
from carrara.data.checks.personal.view import PLACEHOLDER, View


@dataclass(frozen=True)
class Finding:
    """A value of a type at text[start:end]."""

    type: str
    start: int
    end: int


def find_personal_data(text: str, plugins: Sequence[Plugin]) -> list[Finding]:
    """Everything found in a text, in its order and without overlaps; of two that overlap the longer is kept.

    Values inside placeholders are not looked at. What is found is cut out and the rest looked at again until nothing
    more is found, so that a text in which every finding was replaced by its placeholder has no finding left.
    """
    # Compiling the patterns takes too long for commands that look for nothing.
    from carrara.data.checks.personal.detect import detect

    blanked = [match.span() for match in PLACEHOLDER.finditer(text)] if "<" in text else []
    found: list[Finding] = []
    while True:
        view = View.of(text, blanked)
        fresh = [Finding(kind, *view.origin(span)) for kind, span in _without_overlaps(detect(view.text))]
        if not fresh:
            break
        found += fresh
        blanked += [(finding.start, finding.end) for finding in fresh]
    for plugin in plugins:
        for kind, start, end in plugin.find(text):
            if not any(start < other_end and other_start < end for other_start, other_end in blanked):
                found.append(Finding(kind, start, end))
                blanked.append((start, end))
    return sorted(found, key=lambda finding: finding.start)


def _without_overlaps(spans: Iterator[tuple[str, tuple[int, int]]]) -> list[tuple[str, tuple[int, int]]]:
    """The longest first; of equals, the one detected first, which is the more specific."""
    kept: list[tuple[int, int, str]] = []
    for kind, (start, end) in sorted(spans, key=lambda item: item[1][0] - item[1][1]):
        place = bisect_left(kept, (start,))
        free_before = place == 0 or kept[place - 1][1] <= start
        if free_before and (place == len(kept) or end <= kept[place][0]):
            kept.insert(place, (start, end, kind))
    return [(kind, (start, end)) for start, end, kind in kept]
