"""The generation loop: the prompt in chunks, then one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from carrara.models.load import Loaded
from carrara.models.stepper import CHUNK, Stepper
from carrara.serve.engine import Piece, Request, TokenLogprob
from carrara.serve.reader import Reader
from carrara.serve.writer import Writer, text_of

if TYPE_CHECKING:
    import torch


def generate(
    loaded: Loaded,
    reader: Reader,
    prompt: Sequence[int],
    request: Request,
    budget: int,
    cancelled: Callable[[], bool],
) -> Iterator[Piece]:
    """Answer `prompt` with at most `budget` tokens; an end token or a stop string ends it sooner.

    The pieces stop without a last one once `cancelled`.
    """
    writer = Writer(reader, request, len(prompt), budget)
    choose = _chooser(request, loaded.device)
    step = Stepper(loaded)
    logits = None
    for start in range(0, len(prompt), CHUNK):
        if cancelled():
            return
        logits = step(prompt[start : start + CHUNK])
    while not cancelled():
        assert logits is not None, "a prompt has at least one token"
        token = choose(logits)
        piece = writer.add(token, _logprob(reader, logits, token, request.top_logprobs))
        if piece:
            yield piece
            if piece.finish_reason:
                return
        logits = step([token])


def _logprob(reader: Reader, logits: torch.Tensor, token: int, top: int | None) -> TokenLogprob | None:
    if top is None:
        return None
    logprobs = logits.log_softmax(dim=-1)
    values, ids = logprobs.topk(top)
    likeliest = tuple((text_of(reader.tokenizer, int(i)), float(value)) for value, i in zip(values, ids, strict=True))
    return TokenLogprob(text_of(reader.tokenizer, token), float(logprobs[token]), likeliest)


def _chooser(request: Request, device: torch.device) -> Callable[[torch.Tensor], int]:
    """How the next token is taken from the logits: the likeliest at temperature 0, else drawn."""
    import torch

    if request.temperature == 0:
        return lambda logits: int(logits.argmax())
    generator = torch.Generator(device)
    if request.seed is None:
        generator.seed()
    else:
        generator.manual_seed(request.seed)

    def draw(logits: torch.Tensor) -> int:
        probabilities = torch.softmax((logits - logits.max()) / request.temperature, dim=-1)
        if request.top_p >= 1:
            return int(torch.multinomial(probabilities, 1, generator=generator))
        ordered, order = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(0) - ordered
        before[0] = -1  # the likeliest token always stays, also at top_p 0
        ordered[before >= request.top_p] = 0
        return int(order[torch.multinomial(ordered, 1, generator=generator)])

    return draw
