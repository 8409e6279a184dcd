"""The measures of creativity, each a function of one prompt's answers at one temperature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from carrara.evaluate.text.diversity import compression, distinct_among, factors_a_word, has_loop, repeated, self_bleu
from carrara.scorecard.creativity.answers import Answer
from carrara.scorecard.figure import Better

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRAMS = 48  # words or pairs of words among which different ones are counted, and the fewest words that MTLD is told of
BYTES = 320  # that are compressed, an equal share of each answer


@dataclass(frozen=True)
class Judged:
    """An answer with what is known of it.

    `bits` are those that a byte of its first words takes the judge; `vector` `(width,)` is its embedding at length 1,
    None where no embedder is at hand; `recited` the share of its runs of words that stand in training rows, None
    without such rows.
    """

    answer: Answer
    bits: float
    is_coherent: bool
    vector: NDArray[np.float32] | None = None
    recited: float | None = None

    @property
    def text(self) -> str:
        return self.answer.text

    @property
    def beginning(self) -> str:
        return self.answer.beginning


Need = Literal["embedder", "rows", "chat"]
Group = Sequence[Judged]  # of one prompt at one temperature


@dataclass(frozen=True)
class Measure:
    """A measure's name, what it makes of a group (None where it cannot say), and what its value means in words.

    `needs` names what may be lacking, without which it cannot be taken; `most` is the highest value there may be.
    Of one with `fewest_read`, the words that a group has at least, `of` gives how often something happens in a word,
    and the figure is how many words go by until it does: the first can be averaged over prompts, and the second not.
    """

    name: str
    of: Callable[[Group], float | None]
    tell: Callable[[float], str]
    better: Better | None = None
    unit: str = ""
    most: float | None = 1.0
    needs: Need | None = None
    fewest_read: int = 0


def spread(group: Group) -> float | None:
    """The mean cosine distance of two answers, 1 at most; None without embeddings or a pair."""
    return _mean_of_pairs(group, lambda first, second: True)


def guarded_spread(group: Group) -> float | None:
    """The mean cosine distance of two answers, where a pair of which one is incoherent counts as 0.

    So diversity that is bought by noise loses: a babbler's answers lie far apart, and none of them counts.
    """
    return _mean_of_pairs(group, lambda first, second: first.is_coherent and second.is_coherent)


def _mean_of_pairs(group: Group, counts: Callable[[Judged, Judged], bool]) -> float | None:
    distances = [
        min(1.0, max(0.0, round(float(1 - first.vector @ second.vector), 6))) if counts(first, second) else 0.0
        for first, second in combinations(group, 2)
        if first.vector is not None and second.vector is not None
    ]
    return fmean(distances) if distances else None


def _compression(group: Group) -> float | None:
    """At equal size; None where the answers are too short for it."""
    share = BYTES // len(group)
    parts = [each.text.encode("utf-8")[:share].decode("utf-8", "ignore") for each in group]
    return compression(parts) if len("".join(parts).encode("utf-8")) >= 0.9 * BYTES else None


def _novelty(group: Group) -> float | None:
    shares = [1 - each.recited for each in group if each.recited is not None]
    return fmean(shares) if shares else None


def _share(holds: Callable[[Judged], bool]) -> Callable[[Group], float]:
    return lambda group: fmean(holds(each) for each in group)


CREATIVITY = Measure(
    "creativity",
    guarded_spread,
    lambda value: (
        f"Two answers to the same open prompt lie {value:.2f} apart in meaning (0 the same, 1 unrelated), "
        "where a pair with an incoherent answer counts as 0."
    ),
    "higher",
    needs="embedder",
)
MEASURES = (
    CREATIVITY,
    Measure(
        "coherent answers",
        _share(lambda each: each.is_coherent),
        lambda value: (
            f"{value:.0%} of the answers hold together: words in a meaningful order, no loop, few repetitions."
        ),
        "higher",
    ),
    Measure(
        "semantic spread",
        spread,
        lambda value: f"Two answers to the same prompt lie {value:.2f} apart in meaning, babble counted as it comes.",
        needs="embedder",
    ),
    Measure(
        "distinct-1",
        lambda group: distinct_among([each.beginning for each in group], 1, GRAMS),
        lambda value: f"Of {GRAMS} words in the answers to one prompt, {value:.0%} are different ones.",
    ),
    Measure(
        "distinct-2",
        lambda group: distinct_among([each.beginning for each in group], 2, GRAMS),
        lambda value: f"Of {GRAMS} pairs of words in the answers to one prompt, {value:.0%} are different ones.",
    ),
    Measure(
        "MTLD",
        lambda group: factors_a_word([each.beginning for each in group], GRAMS),
        lambda value: (
            f"Judged by how often words come again in its answers, it goes on for about {value:.0f} words "
            "before fewer than 72 % of them are different ones."
        ),
        unit="words",
        most=None,
        fewest_read=GRAMS,
    ),
    Measure(
        "self-BLEU",
        lambda group: self_bleu([each.beginning for each in group]),
        lambda value: f"An answer is {value:.2f} like the others to its prompt in its wording, where 1 is the same.",
    ),
    Measure(
        "compression ratio",
        _compression,
        lambda value: f"Packed together, the beginnings of a prompt's answers need {1 / value:.0%} of their bytes.",
        most=None,
    ),
    Measure(
        "novelty",
        _novelty,
        lambda value: f"{1 - value:.1%} of an answer's runs of eight words stand in the training rows.",
        "higher",
        needs="rows",
    ),
    Measure(
        "repetition",
        lambda group: fmean(repeated(each.text) for each in group),
        lambda value: f"{value:.1%} of an answer's runs of four words stood earlier in it.",
        "lower",
    ),
    Measure(
        "endless loops",
        _share(lambda each: has_loop(each.text)),
        lambda value: f"{value:.1%} of the answers say the same words three times in a row.",
        "lower",
    ),
    Measure(
        "missing ends",
        _share(lambda each: not each.answer.ended),
        lambda value: f"{value:.0%} of the answers were still going on when their budget was used up.",
        "lower",
        needs="chat",
    ),
    Measure(
        "bits per byte",
        lambda group: fmean(each.bits for each in group),
        lambda value: f"A byte of an answer takes {value:.2f} bits: the more, the less it is what was to be expected.",
        unit="bits",
        most=None,
    ),
)
