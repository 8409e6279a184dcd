"""Duplicates: keys of equal rows, pairs of rows that are nearly equal, and the clusters they make."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from carrara.data.checks.minhash import PERMUTATIONS, Hashes, normalise, shingles, similarity

EXACT = "Unicode NFC, line ends LF, white space at the end of lines and of the text removed; case and the rest count."
NEAR = 0.8  # the Jaccard similarity from which rows are near duplicates
WORD_SIDE, CHARACTER_SIDE = 0, 1

_SLACK = 0.1  # a pair whose estimate is lower than the threshold by more is not verified: 2.4 standard errors
_CERTAINTY = 0.99  # the least chance that a pair at the threshold shares a band
_CROWD = 64  # rows of a cluster from which, and of a bucket beyond which, not every pair need be compared
_COLUMNS = 8  # by which a crowd is divided further
_PATIENCE = 512  # comparisons in vain that a row always has; a verification in vain counts as many as
_VERIFICATION = 32
_COMPARISONS = 200_000_000  # in vain, that all rows share where there are few of them
_REMEMBERED = 1 << 20  # pairs verified in vain
_HELD = 4_000_000  # hashes of shingles kept at a time, 32 MB
_FACTOR = 0xD1342543DE82EF95
_ROWS = 4_096  # rows of sketches, or pairs of them, in memory at a time

Rows = NDArray[np.int64]
Sketches = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Near:
    """Two rows, the earlier first, and how alike their texts are."""

    first: int
    second: int
    jaccard: float


def exact_key(texts: Iterable[str]) -> int:
    """A 64-bit number that rows share if each of their texts is equal by `EXACT`; the same on every machine."""
    whole = ("\n".join(line.rstrip() for line in normalize("NFC", text).split("\n")).rstrip() for text in texts)
    return _digest("\0".join(whole))


def prompt_key(prompt: str) -> int:
    """A 64-bit number that prompts share if they ask the same: equal by `minhash.NORMALISATION`."""
    return _digest(normalise(prompt))


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


class UnionFind:
    """Rows that come together; the smallest row of a cluster represents it, in whatever order they are joined."""

    def __init__(self, n: int) -> None:
        self._parents = array("i", range(n))
        self._sizes = array("i", [1]) * n

    def find(self, row: int) -> int:
        """The representative of a row's cluster."""
        parents = self._parents
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    def union(self, a: int, b: int) -> None:
        """Make one cluster of the clusters of two rows."""
        low, high = sorted((self.find(a), self.find(b)))
        if low != high:
            self._parents[high] = low
            self._sizes[low] += self._sizes[high]

    def size(self, row: int) -> int:
        """How many rows the row's cluster has."""
        return self._sizes[self.find(row)]

    def crowds(self, least: int) -> NDArray[np.int32]:
        """For each row its representative if their cluster has `least` rows, and otherwise a number of its own."""
        found = self.representatives()
        large = np.array(self._sizes, dtype=np.int32)[found] >= least
        return np.where(large, found, ~np.arange(found.size, dtype=np.int32))

    def representatives(self) -> NDArray[np.int32]:
        """For each row the representative of its cluster."""
        found = np.array(self._parents, dtype=np.int32)
        while not np.array_equal(found, further := found[found]):
            found = further
        return found


def cluster(n: int, edges: Iterable[tuple[int, int]]) -> NDArray[np.int32]:
    """For each of n rows the smallest row that edges lead to."""
    together = UnionFind(n)
    for a, b in edges:
        together.union(a, b)
    return together.representatives()


def find_near(sketches: Sketches, text_of: Callable[[int], str], threshold: float = NEAR) -> list[Near]:
    """Pairs of rows whose texts are alike by at least `threshold`, each verified by the texts themselves, in order.

    `sketches` (rows, 2, PERMUTATIONS) are those of the texts. Rows of equal normalised text are paired with the
    first of them only, and pairs within a cluster of 64 rows and more are no longer looked for, so that the clusters
    of the pairs are complete where the list is not. Candidates are rows that share a band of their sketches (Indyk
    and Motwani 1998; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3). A bucket of more than 64
    rows, such as the rows of a form letter, is divided by what its rows share besides, because what all of them share
    says nothing; and a row compared with many others in vain is left alone, which bounds the cost of any set of rows.
    Memory: some 40 bytes a row, besides the pairs.
    """
    search = _Search(sketches, text_of, threshold)
    rows = search.fold_copies()
    for side in (CHARACTER_SIDE, WORD_SIDE):
        for band in _bands(threshold):
            search.look(rows, side, band)
    n = max(len(sketches), 1)
    return [Near(pair // n, pair % n, found) for pair, found in sorted(search.found.items())]


def _bands(threshold: float) -> list[slice]:
    """The columns of each band: as wide as leaves a pair at the threshold `_CERTAINTY` of sharing one."""
    width = 1
    while 1 - (1 - threshold ** (width + 1)) ** (PERMUTATIONS // (width + 1)) >= _CERTAINTY:
        width += 1
    return [slice(start, start + width) for start in range(0, PERMUTATIONS - width + 1, width)]


class _Search:
    """What is known so far of which rows are alike."""

    def __init__(self, sketches: Sketches, text_of: Callable[[int], str], threshold: float) -> None:
        self.found: dict[int, float] = {}  # by first * rows + second
        self._sketches = sketches
        self._n = len(sketches)
        self._text_of = text_of
        self._threshold = threshold
        self._together = UnionFind(self._n)
        self._crowds = self._together.crowds(_CROWD)
        self._vain = np.zeros(self._n, dtype=np.int32)
        self._patience = max(_PATIENCE, _COMPARISONS // max(self._n, 1))
        self._crowd = max(_CROWD, self._patience // (2 * len(_bands(threshold))))
        self._rejected = np.full(_REMEMBERED, -1, dtype=np.int64)  # pairs, each at its number modulo the length
        self._shingles: dict[int, tuple[Hashes, Hashes]] = {}
        self._held = 0

    def fold_copies(self) -> Rows:
        """Pair rows of equal normalised text with the first of them, and return the rows that stand for all."""
        keys = _keys(self._sketches.reshape(self._n, 2 * PERMUTATIONS), np.arange(self._n))
        order = np.argsort(keys, kind="stable")
        alone = np.ones(self._n, dtype=bool)
        same = keys[order[1:]] == keys[order[:-1]]
        firsts: dict[int, int] = {}
        for place in np.flatnonzero(same):
            if place == 0 or not same[place - 1]:
                firsts = {prompt_key(self._text_of(int(order[place]))): int(order[place])}
            row = int(order[place + 1])
            first = firsts.setdefault(prompt_key(self._text_of(row)), row)
            if first != row:
                self._accept(first, row, 1.0)
                alone[row] = False
        return np.flatnonzero(alone)

    def look(self, rows: Rows, side: int, band: slice) -> None:
        """Compare the rows that share a band of one side of their sketches."""
        self._crowds = self._together.crowds(_CROWD)
        keys = _keys(self._sketches[:, side, band], rows)
        crowded = self._compare_buckets(rows, keys)
        rows, keys = rows[crowded], keys[crowded]
        for column in range(band.stop, band.stop + _COLUMNS) if rows.size else ():
            place = column % PERMUTATIONS
            self._compare_buckets(rows, _keys(self._sketches[:, side, place : place + 1], rows, within=keys))

    def _compare_buckets(self, rows: Rows, keys: Hashes) -> NDArray[np.bool_]:
        """Compare rows of equal key, of crowds each with the first alone; return which rows are in a crowd."""
        order = np.argsort(keys)
        keys = keys[order]
        begins = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
        sizes = np.diff(begins, append=keys.size)
        in_crowd = np.repeat(sizes > self._crowd, sizes)
        crowds = order[in_crowd]
        if crowds.size:
            crowd_sizes = sizes[sizes > self._crowd]
            firsts = np.minimum.reduceat(crowds, np.cumsum(crowd_sizes) - crowd_sizes)
            self._compare(rows[np.repeat(firsts, crowd_sizes)], rows[crowds])
        few = np.repeat((sizes > 1) & (sizes <= self._crowd), sizes)
        order, keys = order[few], keys[few]
        for distance in range(1, self._crowd):
            same = keys[distance:] == keys[:-distance]
            if not same.any():
                break
            self._compare(rows[order[:-distance][same]], rows[order[distance:][same]])
        crowded = np.zeros(rows.size, dtype=bool)
        crowded[crowds] = True
        return crowded

    def _compare(self, a: Rows, b: Rows) -> None:
        """Verify the pairs that may be alike by their sketches."""
        firsts, seconds = np.minimum(a, b), np.maximum(a, b)
        order = np.lexsort((seconds, firsts))  # texts near each other in the file are read together
        firsts, seconds = firsts[order], seconds[order]
        for start in range(0, firsts.size, _ROWS):
            first, second = firsts[start : start + _ROWS], seconds[start : start + _ROWS]
            worth = (first != second) & (self._crowds[first] != self._crowds[second])
            worth &= np.minimum(self._vain[first], self._vain[second]) < self._patience
            first, second = first[worth], second[worth]
            equal = (self._sketches[first] == self._sketches[second]).sum(axis=2, dtype=np.uint8).max(axis=1, initial=0)
            likely = equal >= (self._threshold - _SLACK) * PERMUTATIONS
            np.add.at(self._vain, np.concatenate((first[~likely], second[~likely])), 1)
            for pair in zip(first[likely].tolist(), second[likely].tolist()):
                self._verify(*pair)

    def _verify(self, first: int, second: int) -> None:
        """Compare two texts exactly, unless it is known already what comes of it."""
        pair = first * self._n + second
        place = pair % _REMEMBERED
        if pair in self.found or self._rejected[place] == pair:
            return
        together = self._together
        if together.find(first) == together.find(second) and together.size(first) >= _CROWD:
            return
        sides = tuple(zip(self._shingles_of(first), self._shingles_of(second)))
        alike = max((similarity(a, b) for a, b in sides), default=0.0)
        if alike >= self._threshold:
            self._accept(first, second, alike)
        else:
            self._rejected[place] = pair
            self._vain[[first, second]] += _VERIFICATION

    def _accept(self, first: int, second: int, alike: float) -> None:
        self.found[first * self._n + second] = alike
        self._together.union(first, second)

    def _shingles_of(self, row: int) -> tuple[Hashes, Hashes]:
        """The shingles of a row's text; the rows asked for first are forgotten first."""
        if row not in self._shingles:
            words, characters = self._shingles[row] = shingles(self._text_of(row))
            self._held += words.size + characters.size
            while self._held > _HELD and len(self._shingles) > 2:
                oldest = self._shingles.pop(next(iter(self._shingles)))
                self._held -= sum(side.size for side in oldest)
        return self._shingles[row]


def _keys(columns: Sketches, rows: Rows, within: Hashes | None = None) -> Hashes:
    """A 64-bit number for each row, shared by rows that agree in all columns and in `within` where it is given."""
    keys = np.zeros(rows.size, dtype=np.uint64) if within is None else within.copy()
    for start in range(0, rows.size, _ROWS):
        part = keys[start : start + _ROWS]
        for column in columns[rows[start : start + _ROWS]].T:
            part *= np.uint64(_FACTOR)
            part += column
    return keys
