"""A text as the patterns see it: full-width and other digits as ASCII, escapes as spaces, known values as one mark."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

# Stands for a value that is known already; no pattern takes it for a letter, a digit or a separator.
MARK = "\0"
PLACEHOLDER = re.compile(r"<[A-Z]{2,20}(?:_[A-Z]{1,20}){0,3}(?:_[1-9]\d{0,5})?>")

# In JSON inside a text, the n of \n belongs to no value.
_ESCAPE = re.compile(r"\\[\\nrtbf\"/]")
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
_SPACES = dict.fromkeys(
    map(ord, "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000"), " "
)


@dataclass(frozen=True)
class View:
    """The text to look at and, for every mark in it, how far the original has run ahead behind it."""

    text: str
    marks: tuple[int, ...]
    shifts: tuple[int, ...]

    @staticmethod
    def of(text: str, hidden: Iterable[tuple[int, int]]) -> View:
        """A view of a text with the hidden spans as one mark each; nested spans are hidden with the outer one."""
        same_length = text if text.isascii() else text.translate(_folding())
        if "\\" in same_length:
            same_length = _ESCAPE.sub("  ", same_length)
        parts: list[str] = []
        marks: list[int] = []
        shifts: list[int] = [0]
        position = 0
        for start, end in sorted(hidden, key=lambda span: (span[0], -span[1])):
            if start < position:
                continue
            parts += (same_length[position:start], MARK)
            marks.append(start - shifts[-1])
            shifts.append(shifts[-1] + end - start - 1)
            position = end
        return View("".join((*parts, same_length[position:])), tuple(marks), tuple(shifts))

    def origin(self, span: tuple[int, int]) -> tuple[int, int]:
        """Where a span of the view lies in the original."""
        start, end = span
        return (
            start + self.shifts[bisect_left(self.marks, start)],
            end + self.shifts[bisect_left(self.marks, end)],
        )


@cache
def _folding() -> dict[int, str]:
    """Every other decimal digit, full-width form, dash and space as the one of ASCII: one character for one."""
    full_width = {0xFF01 + offset: chr(0x21 + offset) for offset in range(94)}
    digits = {code: str(unicodedata.digit(chr(code))) for code in range(128, 0x1FBFA) if chr(code).isdecimal()}
    return _DASHES | _SPACES | full_width | digits
