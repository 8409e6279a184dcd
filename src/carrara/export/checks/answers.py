"""Do both models say the same? The export reads what the scored model reads, and what that one writes.

Every number is about probabilities, so that it means the same for a model that is sure of its words and for one that
is not. Choices are counted where the scored model prefers one by a margin that the form's rounding does not turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from carrara.data.example import Message
from carrara.data.render.ends import end_tokens
from carrara.data.render.example import render_prompt
from carrara.errors import Refusal
from carrara.export.checks.check import Check, Form, at_least, at_most
from carrara.models.forward import hidden_states, project
from carrara.models.generate import write_all
from carrara.models.load import Loaded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Bounds:
    """What a form may change: nats a token, shares, and the margin in nats from which on a choice counts."""

    kl: float
    perplexity: float
    margin: float
    same: float
    stop: float


# Measured on SmolLM2-135M-Instruct, which is more delicate than larger models, its embedding rounded as well: 25 texts
# of 1,235 tokens, and the answers to 29 prompts. The loss is the worst text's; a choice is turned where another token
# takes the place of one that was so far ahead.
#                KL       loss     stop (mean, most)  turned, nats ahead at most
# bfloat16       6e-5     0.004    0.002, 0.012       0.02
# F16            3.3e-6   0.0008   0.0004, 0.0024     0.002
# Q8_0           0.0016   0.017    0.003, 0.03        0.12
# Q4_0           0.48     0.64     0.06, 0.44         4.4
_EXACT = Bounds(kl=1e-6, perplexity=1e-4, margin=0.01, same=1.0, stop=1e-3)
_BOUNDS: Mapping[Form, Bounds] = MappingProxyType(
    {
        "safetensors": Bounds(kl=5e-3, perplexity=0.02, margin=0.2, same=0.99, stop=0.05),  # in bfloat16, most often
        "adapter": _EXACT,
        "f16": Bounds(kl=5e-5, perplexity=2e-3, margin=0.05, same=0.99, stop=0.01),
        "q8_0": Bounds(kl=0.02, perplexity=0.03, margin=0.5, same=0.99, stop=0.1),
        "q4_0": Bounds(kl=1.5, perplexity=1.0, margin=5.0, same=0.9, stop=0.5),
    }
)
# Of a model that guesses: in random networks rounding gave up to 75 times SmolLM2's divergence. What can be said of
# them is that their weights are the rounded ones.
_OF_GUESSING = 40
_QUESTIONS = (
    "What is the capital of Italy?",
    "Say hello in French.",
    "What is 2 + 3?",
    "Name three colours.",
)
_ANSWER = 24  # tokens of an answer that is gone through
_LARGE = 700  # nats, beyond which the perplexity is no number
_TEXTS, _LENGTH = 8, 96  # texts that are read, and tokens of each


def check_answers(scored: Loaded, exported: Loaded, form: Form, texts: Sequence[str]) -> Iterator[Check]:
    """Probabilities and first choices on texts, and the scored model's own answers gone through by both."""
    import torch

    with torch.inference_mode():
        longest = min(_LENGTH, scored.context)
        rows = [ids for text in texts if len(ids := scored.tokenizer.encode(text)[:longest]) > 1][:_TEXTS]
        passages = _gone_through(scored, exported, rows, [1] * len(rows))
        bounds = bounds_of(form, _loss(passages, "meant"), passages[0].meant.shape[-1])
        yield from _on_texts(passages, bounds, form)
        prompts = [*_prompts(scored), *(ids[: len(ids) // 2] for ids in rows[:2])]
        ends = end_tokens(scored)
        written = write_all(scored, prompts, _ANSWER, ends)
        wholes = [[*prompt, *answer.ids] for prompt, answer in zip(prompts, written, strict=True)]
        answers = _gone_through(scored, exported, wholes, [len(prompt) for prompt in prompts])
        yield _same("greedy", answers, bounds, form, "the scored model's own answers")
        yield _stop(answers, ends, end_tokens(exported), bounds, form)


@dataclass(frozen=True)
class _Passage:
    """A text that both went through: the tokens `(n)` and the log-probabilities at each, `(n, vocabulary)`."""

    tokens: torch.Tensor
    meant: torch.Tensor
    found: torch.Tensor


def _gone_through(
    scored: Loaded, exported: Loaded, rows: Sequence[Sequence[int]], starts: Sequence[int]
) -> list[_Passage]:
    """Each row from its start on, which is at least 1."""
    import torch

    meant, found = (_log_probabilities(loaded, rows, starts) for loaded in (scored, exported))
    tokens = [torch.tensor(row[start:]) for row, start in zip(rows, starts, strict=True)]
    return [_Passage(*sides) for sides in zip(tokens, meant, found, strict=True)]


def _log_probabilities(loaded: Loaded, rows: Sequence[Sequence[int]], starts: Sequence[int]) -> Iterator[torch.Tensor]:
    """What the model expects at each place of each row, as log-probabilities `(n, vocabulary)`."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    if not rows:
        return
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)  # what stands behind a row, it never sees
    hidden = hidden_states(loaded.network, ids.to(loaded.device))
    for states, row, start in zip(hidden, rows, starts, strict=True):
        yield project(loaded.network, states[start - 1 : len(row) - 1]).float().log_softmax(-1).cpu()


def _prompts(loaded: Loaded) -> list[list[int]]:
    """A few questions as the model is asked them; none of a model that cannot chat."""
    try:
        prompts = [render_prompt(loaded.tokenizer, (Message("user", question),)) for question in _QUESTIONS]
    except Refusal:
        return []
    return [prompt for prompt in prompts if len(prompt) < loaded.context]


def bounds_of(form: Form, loss: float, vocabulary: int) -> Bounds:
    """The form's bounds; wide ones where the scored model predicts text no better than who knows nothing.

    `loss` is its loss on text in nats a token, `vocabulary` the number of tokens that it chooses among.
    """
    bounds = _BOUNDS[form]
    if bounds is _EXACT or loss < math.log(vocabulary):
        return bounds
    wider, wide = bounds.kl * _OF_GUESSING, bounds.perplexity * _OF_GUESSING
    return Bounds(kl=wider, perplexity=wide, margin=math.inf, same=bounds.same, stop=1.0)


def _loss(passages: Sequence[_Passage], side: Literal["meant", "found"]) -> float:
    """The mean loss of all tokens, in nats."""
    return _mean([-getattr(each, side).gather(-1, each.tokens[:, None]) for each in passages])


def _mean(parts: Sequence[torch.Tensor]) -> float:
    import torch

    return float(torch.cat(list(parts)).double().mean())


def _on_texts(passages: Sequence[_Passage], bounds: Bounds, form: Form) -> Iterator[Check]:
    kl = _mean([(each.meant.exp() * (each.meant - each.found)).sum(-1) for each in passages])
    before, after = _loss(passages, "meant"), _loss(passages, "found")
    change = abs(math.expm1(min(after - before, _LARGE)))
    count = sum(len(each.tokens) for each in passages)
    fact = f"the KL divergence is {kl:.2g} nats a token over {count} tokens of text"
    basis = f"{count} tokens"
    yield _judged(at_most("kl", max(kl, 0.0), bounds.kl, fact), form, basis)
    fact = f"the loss on {count} tokens of text changes from {before:.4g} to {after:.4g} nats a token"
    yield _judged(at_most("perplexity", change, bounds.perplexity, fact), form, basis)
    yield _same("top-1", passages, bounds, form, "a text")


def _same(name: str, passages: Sequence[_Passage], bounds: Bounds, form: Form, where: str) -> Check:
    """The share of same first choices, of those that the scored model makes by more than the margin."""
    same = decided = agreeing = places = 0
    for each in passages:
        best = each.meant.topk(2, dim=-1).values
        clear = best[:, 0] - best[:, 1] > bounds.margin
        is_same = each.meant.argmax(-1) == each.found.argmax(-1)
        same, decided = same + int((is_same & clear).sum()), decided + int(clear.sum())
        agreeing, places = agreeing + int(is_same.sum()), places + len(is_same)
    fact = (
        f"the same next token comes first at {same} of {decided} places of {where} where the scored model is "
        f"{bounds.margin:g} nats ahead with it, and at {agreeing} of all {places}"
    )
    basis = f"{decided} of {places} places"
    if not decided:
        return Check(name, math.nan, bounds.same, True, fact, basis)
    return _judged(at_least(name, same / decided, bounds.same, fact), form, basis)


def _stop(
    answers: Sequence[_Passage], ends: frozenset[int], others: frozenset[int], bounds: Bounds, form: Form
) -> Check:
    """The change of the probability that an answer ends: of each answer the largest, and of these the mean."""
    changes = [float((_ending(each.meant, ends) - _ending(each.found, others)).abs().max()) for each in answers]
    change = sum(changes) / len(changes) if changes else 0.0
    fact = (
        f"the probability that an answer ends at a token changes by up to {change:.2g} (mean of {len(changes)} answers)"
    )
    return _judged(at_most("stop", change, bounds.stop, fact), form, f"{len(changes)} answers")


def _ending(side: torch.Tensor, ends: frozenset[int]) -> torch.Tensor:
    return side[:, [end for end in ends if end < side.shape[-1]]].exp().sum(-1)


def _judged(check: Check, form: Form, basis: str) -> Check:
    """The check; where it fails, its note says why, for tokens, settings and weights were looked at before."""
    check = replace(check, basis=basis)
    if check.holds:
        return check
    if form in ("safetensors", "adapter"):
        return replace(check, note=f"the export computes otherwise than the model that was scored: {check.note}.")
    return replace(check, note=f"the rounding to {form} changes this model too much; take a finer form: {check.note}.")
