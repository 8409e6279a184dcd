"""How much of a text stands word for word in the rows that a model was trained on."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from carrara.data.checks.contamination import words_of

_BASE = np.uint64(0x9E3779B97F4A7C15)


class Recited:
    """The runs of `n` words in some rows, 8 bytes for each; neither case nor punctuation makes a run another.

    A run is known by a hash of 64 bits: among ten million, a run is found wrongly once in 10^12 times.
    Raises ValueError where `n` is below 1.
    """

    def __init__(self, rows: Iterable[str], n: int = 8) -> None:
        if n < 1:
            raise ValueError(f"a run has at least one word, not {n}")
        self._n = n
        hashes = array("Q")  # grows without a second copy of what it holds
        for row in rows:
            hashes.frombytes(self._hashes(row).tobytes())
        self._seen = np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, dtype=np.uint64)
        self._seen.sort()

    def share(self, text: str) -> float | None:
        """The share of the text's runs of `n` words that stand in a row; None where the text is shorter."""
        stands = self._stands(text)
        return float(stands.mean()) if stands.size else None

    def longest(self, text: str) -> int:
        """How many words the longest passage has of which every run of `n` words stands in a row; 0 without any.

        The runs of a passage may stand in several rows, so it is an upper bound of what one row holds.
        """
        longest = current = 0
        for stands in self._stands(text).tolist():
            current = current + 1 if stands else 0
            longest = max(longest, current)
        return longest + self._n - 1 if longest else 0

    def _stands(self, text: str) -> NDArray[np.bool_]:
        """For each run of the text, whether it stands in a row."""
        hashes = self._hashes(text)
        return self._seen.searchsorted(hashes, "right") > self._seen.searchsorted(hashes, "left")

    def _hashes(self, text: str) -> NDArray[np.uint64]:
        """One for each run of `n` words; Python's own hash of a word differs from process to process."""
        words = words_of(text)
        runs = max(0, len(words) - self._n + 1)
        codes = np.fromiter(map(hash, words), dtype=np.int64, count=len(words)).view(np.uint64)
        hashes = np.zeros(runs, dtype=np.uint64)
        for offset in range(self._n):
            hashes *= _BASE
            hashes += codes[offset : offset + runs]
        return hashes
