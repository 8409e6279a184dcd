"""What became of the rows from one version of a dataset to the next: added, removed, changed, moved."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from carrara.data.checks.contamination import words_of
from carrara.data.example import Example

ALIKE = 0.5  # Jaccard of words from which a removed and an added row count as one that was changed

_COMMON = 100  # a word in more rows than this is not searched by: it tells little and costs the square of the rows

_Words = frozenset[str]


@dataclass(frozen=True)
class Row:
    """An example, its split, and its `key_of`."""

    split: str
    example: Example
    key: str


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

    @property
    def counts(self) -> dict[str, int]:
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed, "moved": self.moved}
        return {"same": self.same, **{kind: len(rows) for kind, rows in kinds.items()}}


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
    left = {place: count for place, count in surplus.items() if count > 0}
    arrived = {place: -count for place, count in surplus.items() if count < 0}
    leaving, coming = _by_key(left), _by_key(arrived)
    moving = {key: min(count, coming[key]) for key, count in leaving.items() if key in coming}
    removed, moved_from = _pick(before, left, moving)
    added, moved_to = _pick(after, arrived, moving)
    moved = [
        Moved(there.example.id, there.example.file, there.example.row, here.split, there.split)
        for key, rows in moved_to.items()
        for here, there in zip(moved_from[key], rows, strict=True)
    ]
    same = total - len(removed) - len(moved)
    changed, removed, added = _match(removed, added)
    return Diff(same, moved, changed, removed, added)


def key_of(example: Example) -> str:
    """What makes a row the same row: its content, its label and its score."""
    if example.label is None and example.score is None:
        return example.id
    return f"{example.id} {example.label} {example.score}"


def _by_key(counts: Mapping[tuple[str, str], int]) -> Counter[str]:
    total: Counter[str] = Counter()
    for (_, key), count in counts.items():
        total[key] += count
    return total


def _pick(
    rows: Iterable[tuple[str, Example]], wanted: Mapping[tuple[str, str], int], moving: Mapping[str, int]
) -> tuple[list[Row], dict[str, list[Row]]]:
    """The rows without an equal in the other version, and by key those that only moved."""
    wanted, moving = dict(wanted), dict(moving)
    picked: list[Row] = []
    moved: dict[str, list[Row]] = defaultdict(list)
    for split, example in rows:
        key = key_of(example)
        if not wanted.get((split, key)):
            continue
        wanted[split, key] -= 1
        if moving.get(key):
            moving[key] -= 1
            moved[key].append(Row(split, example, key))
        else:
            picked.append(Row(split, example, key))
    return picked, moved


def _match(removed: Sequence[Row], added: Sequence[Row]) -> tuple[list[Changed], list[Row], list[Row]]:
    """Pair what was removed with what was added: by equal prompts, then by words, the likest first."""
    before, after = ({place: _words(row) for place, row in enumerate(rows)} for rows in (removed, added))
    changed: dict[int, Changed] = {}

    def pair(a: int, b: int) -> None:
        changed[a] = Changed(removed[a], added[b], _jaccard(before.pop(a), after.pop(b)))

    for a, b in _same_prompt(removed, added):
        pair(a, b)
    # where shares are equal the keys decide, whichever comes first, so that both directions agree
    alike = [(-share, *sorted((removed[a].key, added[b].key)), a, b) for share, a, b in _alike(before, after)]
    for *_, a, b in sorted(alike):
        if a in before and b in after:
            pair(a, b)
    return [changed[a] for a in sorted(changed)], [removed[a] for a in before], [added[b] for b in after]


def _same_prompt(removed: Sequence[Row], added: Sequence[Row]) -> Iterator[tuple[int, int]]:
    waiting: dict[str, list[int]] = defaultdict(list)
    for place in sorted(range(len(removed)), key=lambda place: removed[place].key, reverse=True):
        waiting[removed[place].example.context].append(place)
    for place in sorted(range(len(added)), key=lambda place: added[place].key):
        prompt = added[place].example.context
        if prompt and waiting.get(prompt):
            yield waiting[prompt].pop(), place


def _words(row: Row) -> _Words:
    return frozenset(words_of(row.example.body))


def _jaccard(one: _Words, other: _Words) -> float:
    shared = len(one & other)
    union = len(one) + len(other) - shared
    return shared / union if union else 1.0


def _alike(before: Mapping[int, _Words], after: Mapping[int, _Words]) -> Iterator[tuple[float, int, int]]:
    """The pairs with a Jaccard of at least `ALIKE`, by prefix filtering (Bayardo, Ma and Srikant 2007).

    Two sets that are alike share a word among the rarest of each: with n words, among the first n - ceil(ALIKE n) + 1.
    Only pairs that share nothing rarer than words of more than `_COMMON` rows are missed.
    """
    frequency = Counter(word for side in (before, after) for words in side.values() for word in words)
    index: dict[str, list[int]] = defaultdict(list)
    for place, words in before.items():
        for word in _rarest(words, frequency):
            index[word].append(place)
    for place, words in after.items():
        for other in {other for word in _rarest(words, frequency) for other in index.get(word, ())}:
            if (share := _jaccard(before[other], words)) >= ALIKE:
                yield share, other, place


def _rarest(words: _Words, frequency: Mapping[str, int]) -> list[str]:
    ordered = sorted(words, key=lambda word: (frequency[word], word))
    first = ordered[: len(words) - math.ceil(ALIKE * len(words)) + 1]
    return [word for word in first if frequency[word] <= _COMMON]
