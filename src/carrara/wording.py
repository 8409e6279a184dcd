"""Values as people read them on a page or at a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

_MINUS = "\N{MINUS SIGN}"
_LONGEST = 1200  # characters of an item's text that a page shows


def short(text: str) -> str:
    """A text cut to what a reader will look at, with the number of characters left out."""
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]}\N{HORIZONTAL ELLIPSIS} ({more:,} more characters)"


def line(text: str, most: int = 160) -> str:
    """A text from anywhere as one line that cannot steer a terminal nor turn what stands beside it."""
    clean = "".join(character if character.isprintable() else " " for character in text[: 4 * most])
    clean = " ".join(clean.split())
    return clean if len(clean) <= most else clean[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def lines(text: str) -> str:
    """A whole text that cannot steer a terminal; its lines stay lines."""
    return "\n".join(line(each, len(each) + 1) for each in text.split("\n"))


def visible(text: str) -> str:
    """A text as it is, but for control characters, which are shown as the symbols that stand for them."""
    return "".join(_symbol(each) if _is_control(each) else each for each in text)


def _is_control(each: str) -> bool:
    return unicodedata.category(each) == "Cc" and each not in "\n\t"


def _symbol(control: str) -> str:
    return chr(0x2400 + ord(control)) if ord(control) < 0x20 else "\N{REPLACEMENT CHARACTER}"


def plain(content: Any) -> str:
    """Any JSON value as text for a table cell."""
    if content is None:
        return "not known"
    if isinstance(content, bool):
        return "yes" if content else "no"
    if isinstance(content, float):
        return f"{content:.6g}".replace("-", _MINUS)
    if isinstance(content, int):
        return f"{content:,}".replace("-", _MINUS)
    if isinstance(content, Mapping):
        return "; ".join(f"{key}: {plain(item)}" for key, item in content.items()) or "none"
    if isinstance(content, (list, tuple)):
        return ", ".join(plain(item) for item in content) or "none"
    return str(content)


def count_of_rows(number: int) -> str:
    """A number of rows, such as `1 row` or `4,812 rows`."""
    return f"{number:,} row{'' if number == 1 else 's'}"


def percent(part: float) -> str:
    """A share as percent; what is neither nothing nor all is never rounded to it."""
    if 0 < part < 0.001:
        return "< 0.1 %"
    if 0.999 < part < 1:
        return "> 99.9 %"
    return f"{100 * part:.1f} %" if part < 0.1 and part else f"{100 * part:.3g} %"


def duration(seconds: float) -> str:
    """A time in the two largest units that tell something, such as `45 s`, `3 min` or `2 h 10 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"
