"""Whether a text holds together: it repeats little, runs in no loop, and the order of its words means something.

The last is what tells a text from noise. A judge, the model that was there before tuning, is asked how many bits a byte
of the text takes, and how many a byte of the same words shuffled. In a coherent text the order saves much, whatever
the words are; in babble nothing, however rare they are. Bits alone would not do: they are low where a text says what
is most expected, and high where it is in a manner that the judge does not know. How much is asked for is calibrated on
the judge's own answers at the lowest temperature, and has a floor, so that a judge that babbles passes nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from carrara.evaluate.rows import Row
from carrara.evaluate.scorer import Scorer
from carrara.evaluate.text.diversity import has_loop, repeated
from carrara.models.load import Loaded
from carrara.scorecard.creativity.answers import Answer
from carrara.scorecard.creativity.prompts import Asking

MOST_REPEATED = 0.25  # of runs of four words; 7 of 7,512 texts of Alpaca, GSM8K and WikiText-2 (65 words) have more
_SHARE = 0.5  # of what order saves in the judge's own answers, from which on a text counts as coherent
_LEAST = 0.4  # bits per byte that order saves at least


@dataclass(frozen=True)
class Order:
    """The bits that a byte of a text's first words takes the judge, and what shuffling all its words adds to a byte."""

    bits: float
    saved: float


def orders_of(judge: Loaded, asking: Asking, answers: Sequence[Answer]) -> list[Order]:
    """What the order of each answer's words is worth behind its prompt; 0 for an answer that has no words."""
    ids = asking.ids(judge)
    before = [ids[answer.prompt] for answer in answers]
    parts = [(answer.beginning, answer.text[len(answer.beginning) :]) for answer in answers]
    mixed = [(_shuffled(answer.text), "") for answer in answers]
    found = _bits(judge, before * 2, parts + mixed)
    sizes = [max(1, len(answer.text.encode("utf-8"))) for answer in answers]
    return [
        Order(first / max(1, len(beginning.encode("utf-8"))), (sum(shuffled) - first - rest) / size)
        for (beginning, _), (first, rest), shuffled, size in zip(parts, found, found[len(answers) :], sizes)
    ]


def least_saved(own: Sequence[Order]) -> float:
    """The bits per byte that order must save in a coherent text, from those of the judge's own answers."""
    return max(_LEAST, _SHARE * median(order.saved for order in own))


def is_coherent(text: str, order: Order, least: float) -> bool:
    """Whether a text holds together; a single word has no order, so it does not."""
    return order.saved >= least and repeated(text) <= MOST_REPEATED and not has_loop(text)


def _shuffled(text: str) -> str:
    """The words in another order."""
    words = text.split()
    mixed = random.Random(0).sample(words, len(words))
    return " ".join(words[::-1] if mixed == words else mixed)


def _bits(
    judge: Loaded, before: Sequence[Sequence[int]], texts: Sequence[tuple[str, str]]
) -> list[tuple[float, float]]:
    """The bits of both parts of each text behind some tokens; what the judge's context has no room for takes none."""
    rows: dict[int, Row] = {}
    for place, (start, parts) in enumerate(zip(before, texts, strict=True)):
        first, rest = (judge.tokenizer.encode(part, add_special_tokens=False) for part in parts)
        ids = [*start, *first, *rest][: judge.context]
        queries = [(at - 1, ids[at], int(at >= len(start) + len(first))) for at in range(len(start), len(ids))]
        if queries:
            rows[place] = Row(tuple(ids), len(ids), (), tuple(queries), 2)
    found = [(0.0, 0.0)] * len(texts)
    for place, scored in zip(rows, Scorer(judge).score([*rows.values()]), strict=True):
        assert scored is not None, "every row is wanted"
        first, rest = (-nats / math.log(2) for nats in scored.loglikelihoods)
        found[place] = first, rest
    return found
