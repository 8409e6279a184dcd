"""Which persona spoke: told from an answer's words alone, and whether it is told more often than by chance.

An answer is taken for the persona of whose words it holds most; personas that tie share it. So chance is one in as
many as there are, whatever a model writes. The p value permutes personas among the answers to a topic: if the card
changes nothing that the words show, each order is as likely. It holds however alike answers are and however words
were chosen, and answers that were given to the wrong persona count as wrong, which no classifier that learns from the
answers themselves would see.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrara.scorecard.ease_of_use.cards import Persona
from carrara.scorecard.ease_of_use.tally import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS = 9_999
Answers = Mapping[str, Sequence[Sequence[str]]]  # by persona the answers `(topics, wordings)`


@dataclass(frozen=True)
class Told:
    """How answers were told apart.

    `hits` are those taken for their persona, by topic; `confusion` `(personas, personas)` is the share of the answers
    of each (rows) that were taken for each; `p` that of a permutation test, one-sided.
    """

    hits: Tally
    confusion: tuple[tuple[float, ...], ...]
    p: float

    @property
    def balanced_accuracy(self) -> float:
        """The mean over personas of the share that was taken for the right one."""
        return sum(row[place] for place, row in enumerate(self.confusion)) / len(self.confusion)


def tell(personas: Sequence[Persona], answers: Answers) -> Told:
    """Take each answer for a persona; every persona answered every topic in as many wordings."""
    import numpy as np

    counts = np.array(
        [[[[by.sounds(text) for by in personas] for text in topic] for topic in answers[one.name]] for one in personas],
        dtype=float,
    ).transpose(1, 0, 2, 3)  # topics, personas, wordings, personas taken for
    best = counts == counts.max(axis=-1, keepdims=True)
    shared = best / best.sum(axis=-1, keepdims=True)
    by_topic = shared.sum(axis=2)
    right = np.trace(by_topic, axis1=1, axis2=2)
    of_topic = counts.shape[1] * counts.shape[2]
    return Told(
        hits=Tally(tuple(right.tolist()), (of_topic,) * len(counts)),
        confusion=tuple(map(tuple, (by_topic.mean(axis=0) / counts.shape[2]).tolist())),
        p=_permutation_p(by_topic, counts.sum(axis=2)),
    )


def _permutation_p(shared: NDArray, counts: NDArray) -> float:
    """The share of orders, the observed one among them, in which as much is right (Phipson and Smyth 2010).

    Both `(topics, personas, personas taken for)`. Orders with as much right are ranked by the words counted for the
    right personas, so that the test loses little where much ties. The seed comes from the answers.
    """
    import numpy as np

    topics, personas, _ = shared.shape
    generator = np.random.default_rng(zlib.crc32(counts.tobytes()))
    orders = generator.random((DRAWS, topics, personas)).argsort(axis=-1)
    orders = np.concatenate([np.tile(np.arange(personas), (1, topics, 1)), orders])
    strength = shared + counts / (1e6 * max(1.0, float(counts.sum())))
    topic, persona = np.arange(topics)[:, None], np.arange(personas)
    found = strength[topic, persona, orders].sum(axis=(1, 2))
    return float((found >= found[0] - 1e-12).mean())
