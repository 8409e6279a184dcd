"""How much of a reference stands in a text, from 0 to 1: chrF and BLEU as sacrebleu counts them, and ROUGE-L."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

References = Sequence[list[str] | tuple[str, ...]]  # of each text, at least one

_WORD = re.compile(r"[a-z0-9]+")


def chrf(text: str, references: Sequence[str]) -> float:
    """chrF2 (Popović 2015) of a text against the reference that is nearest to it; an empty text has 0.

    Raises ValueError where there are no references.
    """
    return _of_one("chrf", text, references)


def bleu(text: str, references: Sequence[str]) -> float:
    """BLEU (Papineni et al. 2002) of a text against all references at once; an empty text has 0.

    Smoothed, and only over the lengths of n-gram that the text has, as sacrebleu's `sentence_bleu` does: a short text
    would have 0 else. Raises ValueError where there are no references.
    """
    return _of_one("bleu", text, references)


def corpus_chrf(texts: Sequence[str], references: References) -> float:
    """chrF2 of all texts together; `references` has those of each text.

    Raises ValueError where there are no texts, or not some references for each.
    """
    return _of_all("corpus_chrf", texts, references)


def corpus_bleu(texts: Sequence[str], references: References) -> float:
    """BLEU of all texts together, the figure that papers print; `references` has those of each text.

    Raises ValueError where there are no texts, or not some references for each.
    """
    return _of_all("corpus_bleu", texts, references)


def signature(metric: str, references: int | None = None) -> str:
    """Sacrebleu's line of all that moves `chrf`, `bleu`, `corpus_chrf` or `corpus_bleu` (Post 2018, arXiv 1804.08771).

    `references` is their number for each text, None where it varies. Raises ValueError for another metric.
    """
    made = _metric(metric)
    made.num_refs = -1 if references is None else references
    return str(made.get_signature())


def rouge_l(text: str, reference: str | Sequence[str]) -> float:
    """ROUGE-L (Lin 2004): F1 of the longest common subsequence of words, the best over several references.

    Words are runs of `a` to `z` and digits in lower case, not stemmed, as the package rouge-score takes them; so
    a text in another alphabet has none, and a text without words has 0.
    """
    references = [reference] if isinstance(reference, str) else reference
    words = _WORD.findall(text.lower())
    return max((_f1(words, _WORD.findall(each.lower())) for each in references), default=0.0)


def _f1(words: list[str], others: list[str]) -> float:
    return 2 * _common(words, others) / (len(words) + len(others)) if words and others else 0.0


def _common(words: list[str], others: list[str]) -> int:
    """The length of the longest common subsequence, a row of its table at a time, each cell a bit (Hyyrö 2004).

    A bit of `row` is 0 where the longest common subsequence grows by that word.
    """
    places: dict[str, int] = {}
    for number, word in enumerate(words):
        places[word] = places.get(word, 0) | 1 << number
    full = row = (1 << len(words)) - 1
    for word in others:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(words) - row.bit_count()


def _of_one(metric: str, text: str, references: Sequence[str]) -> float:
    if not references:
        raise ValueError("a text needs a reference to be compared with")
    return _share(_metric(metric).sentence_score(text, references))


def _of_all(metric: str, texts: Sequence[str], references: References) -> float:
    if not texts or len(texts) != len(references) or not all(references):
        raise ValueError(f"{len(texts)} texts need as many lists of references, none of them empty")
    return _share(_metric(metric).corpus_score(texts, list(zip_longest(*references))))


def _metric(name: str) -> Any:
    """Made anew each time, as it keeps a number of references."""
    from sacrebleu import BLEU, CHRF

    if name in ("chrf", "corpus_chrf"):
        return CHRF()
    if name in ("bleu", "corpus_bleu"):
        return BLEU(effective_order=name == "bleu", force=True)  # `force` only silences a warning
    raise ValueError(f"{name!r} is none of chrf, bleu, corpus_chrf and corpus_bleu")


def _share(score: Any) -> float:
    """Of a score from 0 to 100, which rounding may carry above it."""
    return min(1.0, float(score.score) / 100)
