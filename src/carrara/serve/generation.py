"""The generation loop: the prompt in chunks, then one token at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from carrara.models.load import Loaded
from carrara.models.stepper import CHUNK, Stepper
from carrara.serve.engine import ChatRequest, FinishReason, Piece
from carrara.serve.writer import Detokenizer, StopFilter

if TYPE_CHECKING:
    import torch


def generate(
    loaded: Loaded,
    prompt: Sequence[int],
    request: ChatRequest,
    budget: int,
    ends: frozenset[int],
    cancelled: Callable[[], bool],
) -> Iterator[Piece]:
    """Answer `prompt` with at most `budget` tokens; a token of `ends` or a stop string ends it sooner.

    The completion's count includes the token that ended it. The pieces stop without a last one once `cancelled`.
    """
    detokenizer, stops = Detokenizer(loaded.tokenizer), StopFilter(request.stop)
    choose = _chooser(request, loaded.device)
    step = Stepper(loaded)
    logits = None
    for start in range(0, len(prompt), CHUNK):
        if cancelled():
            return
        logits = step(prompt[start : start + CHUNK])
    for count in range(1, budget + 1):
        assert logits is not None, "a prompt has at least one token"
        token = choose(logits)
        text = "" if token in ends else stops.add(detokenizer.add(token))
        reason: FinishReason | None = "stop" if token in ends or stops.stopped else None
        if reason is None and count == budget:
            reason = "length"
        if reason:
            text += stops.add(detokenizer.rest())
            if stops.stopped:
                reason = "stop"
            yield Piece(text + stops.rest(), reason, len(prompt), count)
            return
        if text:
            yield Piece(text)
        if cancelled():
            return
        logits = step([token])


def _chooser(request: ChatRequest, device: torch.device) -> Callable[[torch.Tensor], int]:
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
