"""How a model answers one greeting: what tells it from the same base with another adapter, or with none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.serve.engine import TokenLogprob

LENGTH = 6  # tokens
_NOISE = 0.1  # nats by which a log-probability moves with the company in which it is computed, at most


@dataclass(frozen=True)
class Fingerprint:
    """The likeliest tokens, one after the other, with the two likeliest at each place."""

    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]


def agree(tokens: Sequence[int], before: Fingerprint, now: Fingerprint) -> bool:
    """Whether `now` is what wrote `tokens`, with the log-probabilities of `before`.

    Where the two likeliest tokens are equal but for noise, either may be written; nothing is compared after that.
    """
    for place, (token, other) in enumerate(zip(tokens, now.tokens, strict=False)):
        first, second = (logprob for _, logprob in now.logprobs[place].top)
        if token != other:
            return first - second < _NOISE
        if abs(before.logprobs[place].logprob - now.logprobs[place].logprob) > _NOISE:
            return False
    return True
