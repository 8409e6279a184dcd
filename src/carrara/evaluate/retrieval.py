"""How well a ranking of documents answers a query, as MTEB measures retrieval (arXiv 2210.07316, by trec_eval)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence


def recall(ranked: Sequence[str], relevant: Collection[str], most: int) -> float:
    """The share of the relevant documents, at least one, that stand among the first `most` of a ranking."""
    return len(set(ranked[:most]) & set(relevant)) / len(set(relevant))


def ndcg(ranked: Sequence[str], gains: Mapping[str, float], most: int) -> float:
    """Discounted gain of the first `most` of a ranking over that of the best ranking (Järvelin and Kekäläinen 2002).

    A document gains what `gains` says, at least one of them more than 0, and nothing where it is not named; the gain
    itself counts, not a power of it, divided by log2(1 + rank).
    """
    best = sorted(gains.values(), reverse=True)
    return _discounted([gains.get(document, 0.0) for document in ranked[:most]]) / _discounted(best[:most])


def _discounted(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(1 + rank) for rank, gain in enumerate(gains, 1))
