"""What is known of answers: their coherence by a judge, their place among meanings, what they recite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from carrara.evaluate.text.recited import Recited
from carrara.models.embedder import embed
from carrara.models.load import Loaded
from carrara.scorecard.creativity.answers import Answer
from carrara.scorecard.creativity.coherence import is_coherent, least_saved, orders_of
from carrara.scorecard.creativity.measures import Judged
from carrara.scorecard.creativity.prompts import Asking

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def judge_answers(
    judge: Loaded,
    asking: Asking,
    answers: Mapping[str, Sequence[Answer]],
    own: str,
    embedder: Loaded | None,
    recited: Recited | None,
) -> dict[str, list[Judged]]:
    """What is known of the answers of several models, by name; `own` names the judge's, which coherence is set by."""
    orders = {name: orders_of(judge, asking, texts) for name, texts in answers.items()}
    coolest = min(answer.temperature for answer in answers[own])
    calm = [order for answer, order in zip(answers[own], orders[own]) if answer.temperature == coolest]
    least = least_saved(calm)
    return {
        name: [
            Judged(
                answer,
                order.bits,
                is_coherent(answer.text, order, least),
                vector,
                recited.share(answer.text) if recited else None,
            )
            for answer, order, vector in zip(texts, orders[name], _vectors(embedder, texts), strict=True)
        ]
        for name, texts in answers.items()
    }


def _vectors(embedder: Loaded | None, answers: Sequence[Answer]) -> Sequence[NDArray[np.float32] | None]:
    """The embedding of each answer's first words, at length 1."""
    if embedder is None:
        return [None] * len(answers)
    import numpy as np

    vectors = np.stack([found.vector for found in embed(embedder, [answer.beginning for answer in answers])])
    return list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
