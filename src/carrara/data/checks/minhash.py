"""How alike two texts are: shingles, their Jaccard similarity, and sketches from which it can be estimated."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

NORMALISATION = (
    "Unicode NFKC, case folded, invisible formatting removed, every run of punctuation and white space one space; "
    "the signs of arithmetic and code (+ - * / % = < > | ^ ~ & # $) are kept."
)
WORDS = 3  # in a shingle: two are shared by texts that only speak of the same thing, four miss small edits
CHARACTERS = 5  # in a shingle: about a word of English with its space, and two or three words of Chinese
PERMUTATIONS = 96  # an estimate of 0.8 has a standard error of 0.04; 768 bytes a text

_KEPT_PUNCTUATION = "#%&*-/"  # the other signs are symbols to Unicode and kept as all symbols are, emoji too
_PAD = "\0" * (CHARACTERS - 1)
_BLOCK = 65_536  # characters sketched at a time, so that a permutation's numbers stay in the second cache
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_INVERSE = pow(_BASE, -1, 1 << 64)

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]


class _Spelling(dict[int, str | None]):
    """A table for `str.translate` that learns each character when it first meets it."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        becomes: str | None = character
        if category == "Cf":  # zero width spaces and joiners, soft hyphens, marks of direction
            becomes = None
        elif (category[0] in "PZ" or category == "Cc") and character not in _KEPT_PUNCTUATION:
            becomes = " "
        self[code] = becomes
        return becomes


@functools.cache
def _spelling() -> _Spelling:
    return _Spelling()


def normalise(text: str) -> str:
    """The text as near duplicates are compared, by `NORMALISATION`; a text of nothing but punctuation keeps it."""
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.translate(_spelling()).split()) or " ".join(text.split())


def shingles(text: str) -> tuple[Hashes, Hashes]:
    """The word shingles and the character shingles of a text, as sorted distinct 64-bit hashes.

    Word shingles are runs of `WORDS` words; a text of fewer is one shingle. Character shingles are runs of
    `CHARACTERS`, white space included, of the text with blanks around it, so that a change at an end costs as much
    as one in the middle and the shortest text has shingles.
    """
    (words, _), (characters, _) = _shingles_of([normalise(text)])
    return _distinct(words), _distinct(characters)


def _distinct(hashes: Hashes) -> Hashes:
    """Sorted and each once; `np.unique` takes twenty times as long for the size of a text."""
    hashes.sort()
    return hashes[np.concatenate(([True], hashes[1:] != hashes[:-1]))]


def similarity(a: Hashes, b: Hashes) -> float:
    """The Jaccard similarity of two sets of shingles as `shingles` makes them."""
    both = np.concatenate((a, b))
    both.sort()
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (both.size - shared)


def jaccard(a: str, b: str) -> float:
    """How alike two texts are, 0 to 1: the larger of the similarities of their words and of their characters."""
    (words_a, characters_a), (words_b, characters_b) = shingles(a), shingles(b)
    return max(similarity(words_a, words_b), similarity(characters_a, characters_b))


def sketch(texts: Sequence[str]) -> NDArray[np.uint32]:
    """The sketches of texts, (texts, 2, PERMUTATIONS): of words, then of characters; each text's depends on it alone.

    The share of equal numbers in two sketches estimates the similarity of the two texts (Broder 1997, On the
    resemblance and containment of documents). The same everywhere: no process and no machine enters.
    """
    made = np.empty((len(texts), 2, PERMUTATIONS), dtype=np.uint32)
    at = 0
    for block in _blocks(texts):
        for side, (hashes, begins) in enumerate(_shingles_of(block)):
            _minima((hashes >> 32).astype(np.uint32), begins, made[at : at + len(block), side])
        at += len(block)
    return made


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    """Normalised texts, some `_BLOCK` characters at a time."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(normalise(text))
        size += len(block[-1]) + len(_PAD)
        if size >= _BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def _minima(hashes: NDArray[np.uint32], begins: Positions, out: NDArray[np.uint32]) -> None:
    """For each text, whose hashes begin at `begins`, the least hash under each permutation, into (texts, all)."""
    numbers = _mixed(np.arange(1, 2 * PERMUTATIONS + 1, dtype=np.uint64) * np.uint64(_BASE)).astype(np.uint32)
    permuted = np.empty_like(hashes)
    for column, (flips, factor) in enumerate(numbers.reshape(PERMUTATIONS, 2)):
        np.bitwise_xor(hashes, flips, out=permuted)
        np.multiply(permuted, factor | np.uint32(1), out=permuted)
        out[:, column] = np.minimum.reduceat(permuted, begins)


def _shingles_of(texts: Sequence[str]) -> tuple[tuple[Hashes, Positions], tuple[Hashes, Positions]]:
    """The hashes of the word and of the character shingles of normalised texts, and where each text's begin.

    A shingle is a span of the characters c of all texts put in a row; its hash is the sum of c[i] * BASE**i over the
    span, a difference of two running sums, times BASE**-start, and then mixed.
    """
    codes = np.frombuffer(
        (_PAD + _PAD.join(texts) + _PAD).encode("utf-32-le", "surrogatepass"), dtype=np.uint32
    ).astype(np.uint64)
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    begins = np.cumsum(lengths + len(_PAD)) - lengths
    sums = np.zeros(codes.size + 1, dtype=np.uint64)
    np.cumsum(codes * _powers(_BASE, codes.size), out=sums[1:])
    inverse = _powers(_INVERSE, codes.size)
    starts, ends, first = _word_spans(codes, begins, begins + lengths)
    words = _mixed((sums[ends] - sums[starts]) * inverse[starts])
    windows = codes.size - CHARACTERS + 1
    characters = _mixed((sums[CHARACTERS:] - sums[:-CHARACTERS]) * inverse[:windows])
    return (words, first), (characters, begins - len(_PAD))


def _word_spans(codes: Hashes, begins: Positions, ends: Positions) -> tuple[Positions, Positions, Positions]:
    """Where each word shingle starts and ends in `codes`, and the index of each text's first shingle."""
    spaces = np.flatnonzero(codes == ord(" "))
    starts = np.sort(np.concatenate((begins, spaces + 1)))
    stops = np.sort(np.concatenate((ends, spaces)))
    first = np.searchsorted(starts, begins)
    words = np.diff(first, append=starts.size)
    final = np.repeat(first + words - 1, words)  # for each word, the last of its text
    index = np.arange(starts.size)
    kept = index + (WORDS - 1) <= final
    kept[first] = True
    shingles_before = np.cumsum(kept) - kept
    return starts[kept], stops[np.minimum(index + (WORDS - 1), final)[kept]], shingles_before[first]


def _powers(base: int, count: int) -> Hashes:
    """base**0, base**1 and so on, modulo 2**64."""
    powers = np.full(count, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers, out=powers)


def _mixed(hashes: Hashes) -> Hashes:
    """Every bit spread over all, in place; the steps of splitmix64 (Steele, Lea and Flood 2014)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        hashes ^= hashes >> shift
        hashes *= np.uint64(factor)
    hashes ^= hashes >> 31
    return hashes
