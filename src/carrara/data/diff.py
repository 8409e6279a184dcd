"""What became of the rows from one version of a dataset to the next: added, removed, changed, moved."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from carrara.data.example import Example

ALIKE = 0.5  # Jaccard of words from which a removed and an added row count as one that was changed

_WORDS = re.compile(r"\w+")
_PIECES = re.compile(r"\s*\S+")  # a word with the space before it
_COMMON = 100  # a word in more rows than this is not searched by: it tells little and costs the square of the rows
_MOST_PIECES = 2000  # compared word by word; difflib's time grows with the square


@dataclass(frozen=True)
class Row:
    """An example and its split."""

    split: str
    example: Example


@dataclass(frozen=True)
class Changed:
    """A row that became another; `share` is the Jaccard of their words."""

    before: Row
    after: Row
    share: float


@dataclass(frozen=True)
class Moved:
    """An equal row in another split."""

    id: str
    file: str
    row: int
    before: str
    after: str


@dataclass(frozen=True)
class Diff:
    """Before are `same` + moved + changed + removed rows, after `same` + moved + changed + added."""

    same: int
    moved: Sequence[Moved]
    changed: Sequence[Changed]
    removed: Sequence[Row]
    added: Sequence[Row]


@dataclass(frozen=True)
class Aligned:
    """A run of words of each of two texts; `alike` if they are the same words. One of the two may be empty."""

    before: str
    after: str
    alike: bool


def diff_examples(before: Iterable[tuple[str, Example]], after: Iterable[tuple[str, Example]]) -> Diff:
    """Compare two versions, each an iterable of (split, example) that can be gone through twice.

    Equal rows are found by the digest of their content, so that only rows without an equal are kept in memory. Of
    these, a removed and an added row with the same prompt, or else with a Jaccard of words of at least `ALIKE`, are
    one row that changed. Exchanging the two versions exchanges added with removed and nothing else.
    """
    surplus: Counter[tuple[str, str]] = Counter()
    total = 0
    for split, example in before:
        surplus[split, key_of(example)] += 1
        total += 1
    for split, example in after:
        surplus[split, key_of(example)] -= 1
    left = {key: count for key, count in surplus.items() if count > 0}
    arrived = {key: -count for key, count in surplus.items() if count < 0}
    leaving, coming = _by_content(left), _by_content(arrived)
    moving = {content: min(count, coming[content]) for content, count in leaving.items() if content in coming}
    removed, moved_from = _pick(before, left, moving)
    added, moved_to = _pick(after, arrived, moving)
    moved = [
        Moved(content, example_file, row, split, target)
        for content, places in moved_to.items()
        for (target, example_file, row), (split, _, _) in zip(places, moved_from[content], strict=True)
    ]
    same = total - len(removed) - len(moved)
    changed, removed, added = _match(removed, added)
    return Diff(same, moved, changed, removed, added)


def key_of(example: Example) -> str:
    """What makes a row the same row: its content, its label and its score."""
    if example.label is None and example.score is None:
        return example.id
    return f"{example.id} {example.label} {example.score}"


def align_words(before: str, after: str) -> list[Aligned]:
    """Two texts as a sequence of what both have and what one has in the other's place; case and marks do not count.

    Beyond 2,000 words a text is not compared further; the rest counts as different.
    """
    old, new = _PIECES.findall(before), _PIECES.findall(after)
    plain = [[_bare(piece) for piece in pieces[:_MOST_PIECES]] for pieces in (old, new)]
    steps = SequenceMatcher(None, plain[0], plain[1], autojunk=False).get_opcodes()
    runs = [Aligned("".join(old[a:b]), "".join(new[c:d]), step == "equal") for step, a, b, c, d in steps]
    rest = Aligned("".join(old[_MOST_PIECES:]), "".join(new[_MOST_PIECES:]), False)
    return [*runs, rest] if rest.before or rest.after else runs


def _bare(piece: str) -> str:
    return "".join(_WORDS.findall(piece.lower())) or piece.strip()


def _by_content(counts: dict[tuple[str, str], int]) -> Counter[str]:
    total: Counter[str] = Counter()
    for (_, content), count in counts.items():
        total[content] += count
    return total


def _pick(
    rows: Iterable[tuple[str, Example]], wanted: dict[tuple[str, str], int], moving: dict[str, int]
) -> tuple[list[Row], dict[str, list[tuple[str, str, int]]]]:
    """The rows without an equal in the other version, and the places (split, file, row) of those that only moved."""
    wanted, moving = dict(wanted), dict(moving)
    picked: list[Row] = []
    places: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for split, example in rows:
        content = key_of(example)
        if not wanted.get((split, content)):
            continue
        wanted[split, content] -= 1
        if moving.get(content):
            moving[content] -= 1
            places[content].append((split, example.file, example.row))
        else:
            picked.append(Row(split, example))
    return picked, places


def _match(removed: list[Row], added: list[Row]) -> tuple[list[Changed], list[Row], list[Row]]:
    """Pair what was removed with what was added: by equal prompts, then by words, the likest first."""
    words = [[_words(row.example) for row in side] for side in (removed, added)]
    pairs = _same_prompt(removed, added)
    taken = [{pair[side] for pair in pairs} for side in (0, 1)]
    free = [[index for index in range(len(words[side])) if index not in taken[side]] for side in (0, 1)]
    edges = [
        (jaccard, a, b) for jaccard, a, b in _alike([words[0][i] for i in free[0]], [words[1][i] for i in free[1]])
    ]
    edges = [(jaccard, free[0][a], free[1][b]) for jaccard, a, b in edges]
    # equal shares are ordered by the rows' contents, whichever comes first, so that both directions agree
    keys = [[key_of(row.example) for row in side] for side in (removed, added)]
    edges.sort(key=lambda edge: (-edge[0], *sorted((keys[0][edge[1]], keys[1][edge[2]]))))
    for _, a, b in edges:
        if a not in taken[0] and b not in taken[1]:
            taken[0].add(a)
            taken[1].add(b)
            pairs.append((a, b))
    changed = [Changed(removed[a], added[b], _jaccard(words[0][a], words[1][b])) for a, b in sorted(pairs)]
    rest = [[row for i, row in enumerate(side) if i not in taken[n]] for n, side in enumerate((removed, added))]
    return changed, rest[0], rest[1]


def _same_prompt(removed: Sequence[Row], added: Sequence[Row]) -> list[tuple[int, int]]:
    waiting: dict[str, list[int]] = defaultdict(list)
    for index in _in_order(removed):
        waiting[removed[index].example.context].append(index)
    pairs: list[tuple[int, int]] = []
    for index in _in_order(added):
        prompt = added[index].example.context
        if prompt and waiting.get(prompt):
            pairs.append((waiting[prompt].pop(0), index))
    return pairs


def _in_order(rows: Sequence[Row]) -> list[int]:
    return sorted(range(len(rows)), key=lambda index: key_of(rows[index].example))


def _words(example: Example) -> frozenset[str]:
    return frozenset(_WORDS.findall(f"{example.context} {example.answer}".lower()))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    union = len(one | other)
    return len(one & other) / union if union else 1.0


def _alike(before: Sequence[frozenset[str]], after: Sequence[frozenset[str]]) -> Iterator[tuple[float, int, int]]:
    """The pairs with a Jaccard of at least `ALIKE`, by prefix filtering (Bayardo, Ma and Srikant 2007).

    Two sets that are alike share a word among the rarest of each: with n words, among the first n - ceil(ALIKE n) + 1.
    Only pairs that share nothing rarer than words of more than `_COMMON` rows are missed.
    """
    frequency = Counter(word for side in (before, after) for words in side for word in words)
    index: dict[str, list[int]] = defaultdict(list)
    for place, words in enumerate(before):
        for word in _rarest(words, frequency):
            index[word].append(place)
    for place, words in enumerate(after):
        candidates = {other for word in _rarest(words, frequency) for other in index.get(word, ())}
        for other in candidates:
            sizes = sorted((len(before[other]), len(words)))
            if sizes[0] >= ALIKE * sizes[1] and (jaccard := _jaccard(before[other], words)) >= ALIKE:
                yield jaccard, other, place


def _rarest(words: frozenset[str], frequency: Counter[str]) -> list[str]:
    ordered = sorted(words, key=lambda word: (frequency[word], word))
    first = ordered[: len(words) - math.ceil(ALIKE * len(words)) + 1] if words else []
    return [word for word in first if frequency[word] <= _COMMON]
