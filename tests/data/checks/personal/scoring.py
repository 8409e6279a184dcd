"""Recall and precision by type of a detector over the generated corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.data.checks.personal.corpus import Sentence

Detect = Callable[[str], Iterable[tuple[str, int, int]]]
_WHOLE = 0.9


@dataclass(frozen=True)
class Rate:
    """How often a type is right; negatives are the sentences that hold no value of it."""

    recall: float
    precision: float
    positives: int
    negatives: int


def rates(sentences: Sequence[Sentence], detect: Detect) -> dict[str, Rate]:
    """By type. A value is found if a finding of its type covers nine tenths of it; a finding of a type that touches no
    value of that type is false."""
    positives: Counter[str] = Counter()
    true: Counter[str] = Counter()
    false: Counter[str] = Counter()
    for sentence in sentences:
        found = list(detect(sentence.text))
        for kind, start, end in sentence.values:
            positives[kind] += 1
            true[kind] += any(k == kind and min(e, end) - max(s, start) >= _WHOLE * (end - start) for k, s, e in found)
        for kind, start, end in found:
            false[kind] += not any(k == kind and start < e and s < end for k, s, e in sentence.values)
    return {
        kind: Rate(
            true[kind] / count,
            true[kind] / (true[kind] + false[kind]) if true[kind] else float(false[kind] == 0),
            count,
            len(sentences) - count,
        )
        for kind, count in positives.items()
    }
