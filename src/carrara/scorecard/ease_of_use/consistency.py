"""Whether a persona says the same when it is asked the same in other words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from carrara.models.embedder import embed
from carrara.models.load import Loaded
from carrara.scorecard.ease_of_use.answers import InRoles
from carrara.scorecard.ease_of_use.cards import Cards
from carrara.scorecard.ease_of_use.compared import Counted
from carrara.scorecard.ease_of_use.tally import Tally, mean_interval
from carrara.scorecard.embedder import EMBEDDER

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONSISTENCY = "persona consistency"


def counted_consistency(embedder: Loaded, cards: Cards, answered: InRoles) -> list[Counted]:
    """How much nearer the two answers of one persona to a topic are than those of two personas."""
    texts = [text for persona in cards.personas for topic in answered.topics[persona.name] for text in topic]
    nearer, own = closeness(_directions(embedder, texts, len(cards.topics)))
    told = (
        "Its personas keep to what they have said"
        if mean_interval(nearer)[0] > 0
        else "Whether its personas keep to what they have said cannot be told"
    )
    return [
        Counted(
            CONSISTENCY,
            nearer,
            f"cosine of answers to two wordings of a topic, of one persona less that of two; {EMBEDDER}, "
            f"{len(texts)} answers",
            f"{told}: asked in other words, two answers of one are alike by {own:.2f}, those of two by "
            f"{own - nearer.mean:.2f} (1 means the same).",
            "higher",
            "cosine",
        )
    ]


def closeness(vectors: NDArray) -> tuple[Tally, float]:
    """By topic how much nearer answers of one persona are, and how near these are.

    `vectors` `(personas, topics, 2, width)` have length 1.
    """
    import numpy as np

    near = np.einsum("itw,jtw->tij", vectors[:, :, 0], vectors[:, :, 1])
    personas = near.shape[1]
    same = np.trace(near, axis1=1, axis2=2)
    others = (near.sum(axis=(1, 2)) - same) / (personas * (personas - 1))
    return Tally(tuple((same / personas - others).tolist()), (1,) * len(near)), float(same.mean() / personas)


def _directions(embedder: Loaded, texts: Sequence[str], topics: int) -> NDArray:
    """The embeddings at length 1, `(personas, topics, 2, width)`; an empty answer counts as a full stop."""
    import numpy as np

    vectors = np.array([each.vector for each in embed(embedder, [text or "." for text in texts])], dtype=float)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).reshape(-1, topics, 2, vectors.shape[1])
