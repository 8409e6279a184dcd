"""How a model answers one greeting: what tells it from the same base with another adapter, or with none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from types import MappingProxyType

from carrara.data.example import Message
from carrara.data.render.example import render_prompt
from carrara.errors import Refusal
from carrara.export.gguf import Quantization
from carrara.export.reference import GREETING, Reference
from carrara.serve.engine import TokenLogprob
from carrara.serve.reader import Reader

_NOISE = 0.1  # nats by which a log-probability moves with the company in which it is computed, at most
# Nats by which one moves between transformers and llama.cpp on the same rounded weights, since llama.cpp rounds what
# goes through a matrix as well, to 16 bits or to blocks of 8.
_BOUNDS: Mapping[Quantization, float] = MappingProxyType({"f16": 0.1, "q8_0": 0.3, "q4_0": 0.3})


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


def sure_tokens(reference: Reference | None, quantization: Quantization) -> tuple[int, ...] | None:
    """The tokens that whoever computes the model in that number format has to write: those before a near-tie."""
    if reference is None:
        return None
    pairs = zip(reference.tokens, reference.top, strict=True)
    clear = takewhile(lambda pair: not _is_tie(pair[1], _BOUNDS[quantization]), pairs)
    return tuple(token for token, _ in clear)


def _is_tie(top: tuple[float, float], bound: float) -> bool:
    return top[0] - top[1] < 2 * bound


def require_rendered(readers: Mapping[str, Reader], references: Mapping[str, Reference | None]) -> None:
    """Refuse a model whose greeting is read in other tokens than the scored model reads, by its name."""
    for name, reference in references.items():
        read = tuple(render_prompt(readers[name].tokenizer, (Message("user", GREETING),)))
        if reference and read != reference.prompt:
            raise Refusal(
                f"{name} is not the model that was scored: its chat template or tokenizer makes other tokens of a "
                "greeting; fetch or tune it again."
            )


def require_scored(
    found: Mapping[str, Fingerprint], references: Mapping[str, Reference | None], quantization: Quantization
) -> None:
    """Refuse a model that answers the greeting otherwise than the scored one, by its name and the first place.

    Where the two likeliest are all but equal, either may be written; nothing is compared after that.
    """
    bound = _BOUNDS[quantization]
    for name, reference in references.items():
        if reference and (place := _first_fault(found[name], reference, bound)) is not None:
            meant, said = reference.top[place][0], found[name].logprobs[place].logprob
            raise Refusal(
                f"{name} is not the model that was scored: its GGUF file gives token {place + 1} of the answer to a "
                f"greeting {said:.2f} nats, and the model {meant:.2f} (the bound of {quantization} is {bound:g}); "
                "remove the gguf artefacts from the workspace, and start again."
            )


def _first_fault(found: Fingerprint, reference: Reference, bound: float) -> int | None:
    """The place of the first token that is another, or whose log-probability is more than `bound` off."""
    pairs = zip(reference.tokens, reference.top, found.tokens, found.logprobs, strict=False)
    for place, (token, top, written, said) in enumerate(pairs):
        if abs(said.logprob - top[0]) > bound or (written != token and not _is_tie(top, bound)):
            return place
        if written != token:
            return None
    return None
