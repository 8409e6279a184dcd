"""Finding benchmark questions that are near-copies of training rows, which would flatter a score."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"\w+")
_SHINGLE = 3  # words
_SHARED = 0.6  # of a question's shingles


class TrainingTexts:
    """An index over the word shingles of training texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._rows_of: dict[tuple[str, ...], set[int]] = {}
        self._whole: set[tuple[str, ...]] = set()
        for row, text in enumerate(texts):
            words = _words(text)
            self._whole.add(words)
            for shingle in _shingles(words):
                self._rows_of.setdefault(shingle, set()).add(row)

    def has_near_copy(self, text: str) -> bool:
        """Whether one training text holds the same words, or most of the text's three-word runs."""
        words = _words(text)
        if words in self._whole:
            return True
        shingles = _shingles(words)
        counts: dict[int, int] = {}
        for shingle in shingles:
            for row in self._rows_of.get(shingle, ()):
                counts[row] = counts.get(row, 0) + 1
        return bool(counts) and max(counts.values()) >= _SHARED * len(shingles)


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.casefold()))


def _shingles(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {words[i : i + _SHINGLE] for i in range(len(words) - _SHINGLE + 1)}
