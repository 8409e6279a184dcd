"""Looking for texts in other texts by their rarest short runs of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SIZES = (1, 2, 3)  # words in a run
_SHORT = 8  # a text of fewer words is looked for by its runs of two words as well
_MOST = 16  # runs by which a text is looked for
_SURE = 6  # with so many of them, one alone makes no candidate
_COMMON, _COMMON_SHARE = 10, 1000  # a run is common in more than ten texts and in more than one of a thousand
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)  # odd, of well-mixed bits
_BITS = 22  # of the table that sorts out most of what no text holds


class Anchors:
    """The rarest runs of each of some texts, which are non-empty and distinct sequences of word numbers."""

    def __init__(self, texts: Sequence[tuple[int, ...]], weights: NDArray[np.float64]) -> None:
        import numpy as np

        lengths = np.array([len(words) for words in texts])
        words = np.fromiter(chain.from_iterable(texts), dtype=np.int64, count=int(lengths.sum()))
        owners = np.repeat(np.arange(len(texts)), lengths)
        firsts = np.cumsum(lengths) - lengths
        limit = max(_COMMON, len(texts) // _COMMON_SHARE)
        runs: dict[int, _Runs] = {}
        for size in _SIZES:
            every = _runs_of(words, owners, size, weights, limit)
            if size == 3:
                self._evidence, self._firsts = _evidence(every, words, owners, lengths, weights), firsts.tolist()
            allowed = (lengths == size) | (lengths > 2) & ((size == 3) | (size == 2) & (lengths < _SHORT))
            runs[size] = every.where(allowed[every.owners])
        chosen = _rarest(runs)
        self._tables = {size: _Table(table, firsts) for size, table in chosen.items() if len(table.keys)}
        counts = sum(np.bincount(table.owners, minlength=len(texts)) for table in chosen.values())
        self._needed = np.where(np.asarray(counts) < _SURE, 1, 2).tolist()

    def evidence(self, text: int, length: int) -> list[float]:
        """What each of the words of a text of that length counts.

        That is its weight, or 0.0 where it stands only in runs that many texts share, such as an instruction in front
        of every prompt.
        """
        first = self._firsts[text]
        return self._evidence[first : first + length].tolist()

    def candidates(self, row: NDArray[np.int64]) -> dict[int, list[int]]:
        """The texts that a row may hold, each with the places where it would start, one for each run found."""
        found: dict[int, list[int]] = {}
        for size, table in self._tables.items():
            if len(row) >= size:
                table.look_up(_keys(row, size), found)
        return {text: starts for text, starts in found.items() if len(starts) >= self._needed[text]}


@dataclass(frozen=True)
class _Runs:
    """Runs of one size: their keys, the texts they are of, where they start, in how many texts they are."""

    keys: NDArray[np.uint64]
    owners: NDArray[np.int64]
    places: NDArray[np.int64]  # in all the texts behind one another
    spread: NDArray[np.int64]
    common: NDArray[np.bool_]
    weights: NDArray[np.float64]  # the sum of the words' weights

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> _Runs:
        return _Runs(self.keys[chosen], self.owners[chosen], self.places[chosen], self.spread[chosen],
                     self.common[chosen], self.weights[chosen])  # fmt: skip


def _keys(words: NDArray[np.int64], size: int) -> NDArray[np.uint64]:
    """A number for each run of `size` words; different runs share one about as often as 64 random bits do."""
    import numpy as np

    numbers = words.astype(np.uint64)
    count = len(words) - size + 1
    keys = np.zeros(max(count, 0), dtype=np.uint64)
    for offset in range(size):
        keys += numbers[offset : offset + count] * np.uint64(_MULTIPLIERS[offset])
    return keys


def _runs_of(
    words: NDArray[np.int64], owners: NDArray[np.int64], size: int, weights: NDArray[np.float64], limit: int
) -> _Runs:
    import numpy as np

    keys = _keys(words, size)
    count = len(keys)
    inside = np.nonzero(owners[:count] == owners[size - 1 : size - 1 + count])[0]
    keys, owner = keys[inside], owners[inside]
    order = np.lexsort((owner, keys))
    new_key = np.concatenate([[True], np.diff(keys[order]) != 0])[: len(order)]
    new_pair = new_key | np.concatenate([[True], np.diff(owner[order]) != 0])[: len(order)]
    group = np.cumsum(new_key) - 1
    spread = np.zeros(len(order), dtype=np.int64)
    spread[order] = np.bincount(group, weights=new_pair).astype(np.int64)[group]
    counts = weights[words]
    weight = sum((counts[inside + offset] for offset in range(size)), np.zeros(len(inside)))
    return _Runs(keys, owner, inside, spread, spread > limit, weight)


def _evidence(
    runs: _Runs,
    words: NDArray[np.int64],
    owners: NDArray[np.int64],
    lengths: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> NDArray[np.float32]:
    """What each word of all texts counts, text behind text."""
    import numpy as np

    telling = lengths[owners] < 3  # too short to be judged by runs of three
    for offset in range(3):
        telling[runs.places[~runs.common] + offset] = True
    return np.where(telling, weights[words], 0.0).astype(np.float32)


def _rarest(runs: dict[int, _Runs]) -> dict[int, _Runs]:
    """The runs to look for: those of the rarest words among the uncommon ones, or the rarest run if all are common."""
    import numpy as np

    sizes = np.concatenate([np.full(len(table.keys), size) for size, table in runs.items()])
    within = np.concatenate([np.arange(len(table.keys)) for table in runs.values()])
    owners, spread, common, weights = (
        np.concatenate([getattr(table, name) for table in runs.values()])
        for name in ("owners", "spread", "common", "weights")
    )
    order = np.lexsort((-weights, np.where(common, spread, 0), owners))
    starts = np.nonzero(np.concatenate([[True], np.diff(owners[order]) != 0]))[0]
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    kept = order[(rank == 0) | (rank < _MOST) & ~common[order]]
    return {size: table.where(within[kept[sizes[kept] == size]]) for size, table in runs.items()}


class _Table:
    """Runs of one size, found by their keys."""

    def __init__(self, runs: _Runs, firsts: NDArray[np.int64]) -> None:
        import numpy as np

        order = np.argsort(runs.keys, kind="stable")
        self._keys = runs.keys[order]
        self._owners = runs.owners[order].astype(np.int32)
        self._offsets = (runs.places - firsts[runs.owners])[order].astype(np.int32)
        self._held = np.zeros(1 << _BITS, dtype=np.bool_)
        self._shift = np.uint64(64 - _BITS)
        self._held[self._keys >> self._shift] = True

    def look_up(self, keys: NDArray[np.uint64], found: dict[int, list[int]]) -> None:
        """Add, for each run of a row that a text has, where in the row that text would start."""
        import numpy as np

        places = np.nonzero(self._held[keys >> self._shift])[0]
        if not len(places):
            return
        keys = keys[places]
        lows = np.searchsorted(self._keys, keys, "left")
        highs = np.searchsorted(self._keys, keys, "right")
        for place, low, high in zip(places.tolist(), lows.tolist(), highs.tolist()):
            for entry in range(low, high):
                found.setdefault(int(self._owners[entry]), []).append(place - int(self._offsets[entry]))
