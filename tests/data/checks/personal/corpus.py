"""A generated corpus of personal data, secrets and what looks like them, in sentences, with the place of each value.

Check digits are made here, by formulas of their own: nothing is imported from the detectors. Forms come from how people
of many countries write; the sentences around them are English, German, French, Spanish, Dutch, JSON, tables and code.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.data.checks.personal import identities, lookalikes, numbers, secret_values


@dataclass(frozen=True)
class Sentence:
    """A text and the values in it as (type, start, end); a hard negative has none."""

    text: str
    values: tuple[tuple[str, int, int], ...]


Maker = Callable[[random.Random], tuple[str, tuple[str, ...]]]

# By type: a function that gives a value and the sentences it may stand in.
_MAKERS: dict[str, Maker] = {
    "email": identities.email,
    "phone": identities.phone,
    "iban": numbers.iban,
    "card": numbers.card,
    "national_id": numbers.national_id,
    "ip": identities.ip,
    "address": identities.address,
    "birth_date": identities.birth_date,
    "api_key": secret_values.api_key,
    "private_key": secret_values.private_key,
    "token": secret_values.token,
    "url_credentials": secret_values.url_credentials,
}


def corpus(seed: int, positives: int, negatives: int) -> list[Sentence]:
    """So many sentences for each type, each with one value, and so many in all without any; the seed decides all."""
    rng = random.Random(seed)
    sentences = [_sentence(kind, maker, rng) for kind, maker in _MAKERS.items() for _ in range(positives)]
    sentences += [Sentence(lookalikes.lookalike(rng), ()) for _ in range(negatives)]
    return sentences


def _sentence(kind: str, maker: Maker, rng: random.Random) -> Sentence:
    value, frames = maker(rng)
    frame = rng.choice(frames)
    before, after = frame.split("{}")
    start = len(before)
    return Sentence(before + value + after, ((kind, start, start + len(value)),))
