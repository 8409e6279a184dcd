"""How long a model makes one wait, beside its base: answers in turn, so that both meet the same machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.errors import Refusal
from carrara.evaluate.latency import time_answer
from carrara.models.adapters import Adapted, switched_on
from carrara.models.load import Loaded
from carrara.scorecard.ease_of_use.compared import changed
from carrara.scorecard.ease_of_use.tally import Range
from carrara.scorecard.figure import BASE, CHANGE, Better, Figure

_PROMPT, _WRITTEN = 256, 24  # tokens
_REPEATS = 16  # behind one that warms up
_DRAWS = 2_000
FIRST, RATE = "first token p50", "tokens per second p50"
_TEXT = "Please tell me slowly and in your own words what you would do today. "


@dataclass(frozen=True)
class Timed:
    """The answers of one model: seconds to the first token, and tokens a second behind it, answer by answer."""

    first: tuple[float, ...]
    rate: tuple[float, ...]


def time_in_turn(voices: Sequence[Adapted]) -> list[Timed]:
    """Time the models on the same prompt, one answer each in turn; raises Refusal where prompt and answer do not fit.

    Answers have the same length whatever the models say, one token after the other, as in a chat.
    """
    found: list[list[tuple[float, float]]] = [[] for _ in voices]
    for repeat in range(1 + _REPEATS):
        for place in sorted(range(len(voices)), reverse=bool(repeat % 2)):  # neither is always the second
            with switched_on(voices[place]) as loaded:
                found[place].append(_answer(loaded, _prompt(loaded)))
    return [Timed(*(tuple(column) for column in zip(*answers[1:], strict=True))) for answers in found]


def speed_figures(mine: Timed, base: Timed | None, merges: bool) -> list[Figure]:
    """Median and bad end of both measures, of the model and its base, and what tuning changed.

    The bad end, p95 by nearest rank, is the slowest of so few answers. It has no interval, since one from 16
    answers would hold the true p95 at most 56 times in 100.

    `merges` says that the model was timed with an adapter beside its weights, which could be written into them.
    """
    source = f"{_REPEATS} answers of {_WRITTEN} tokens to a prompt of {_PROMPT}, one at a time, by transformers here"
    figures = _of_one(mine, "", source)
    if base is not None:
        figures += _of_one(base, BASE, source)
        figures += [
            _change(FIRST, mine.first, base.first, "lower", source, merges),
            _change(RATE, mine.rate, base.rate, "higher", source, merges),
        ]
    return figures


def _prompt(loaded: Loaded) -> list[int]:
    if loaded.context < _PROMPT + _WRITTEN:
        raise Refusal(
            f"{loaded.model.name} holds {loaded.context} tokens; a prompt of {_PROMPT} and an answer of {_WRITTEN} do "
            "not fit, so it is not timed."
        )
    return list(loaded.tokenizer.encode(_TEXT * _PROMPT, add_special_tokens=False))[:_PROMPT]


def _answer(loaded: Loaded, prompt: Sequence[int]) -> tuple[float, float]:
    """The seconds to an answer's first token, and the tokens a second behind it."""
    first, others = time_answer(loaded, prompt, _WRITTEN)
    return first, (_WRITTEN - 1) / others


def _of_one(timed: Timed, end: str, source: str) -> list[Figure]:
    found: list[Figure] = []
    measures: Sequence[tuple[str, Sequence[float], float, str, Better]] = (
        ("first token", timed.first, max(timed.first), "s", "lower"),
        ("tokens per second", timed.rate, min(timed.rate), "tokens/s", "higher"),
    )
    for measure, values, slowest, unit, better in measures:
        middle, interval = _median(values)
        half, worst = _meanings(unit, middle, slowest)
        found += [
            Figure(f"{measure} p50{end}", middle, interval, "measured", source, unit, better, half),
            Figure(f"{measure} p95{end}", slowest, None, "measured", f"the slowest of {source}", unit, better, worst),
        ]
    return found


def _meanings(unit: str, middle: float, slowest: float) -> tuple[str, str]:
    """What the median and the slowest answer mean."""
    one = f"The slowest of {_REPEATS} answers"
    if unit == "s":
        return f"Half of the answers begin within {middle:.2g} s.", f"{one} begins after {slowest:.2g} s."
    return (
        f"Half of the answers are written at {middle:.3g} tokens a second or faster.",
        f"{one} is written at {slowest:.3g} tokens a second.",
    )


def _change(
    measure: str, after: Sequence[float], before: Sequence[float], better: Better, source: str, merges: bool
) -> Figure:
    """The median of what one answer differs from the other's in its turn, in percent."""
    value, interval = _median([100 * (new / old - 1) for new, old in zip(after, before, strict=True)])
    meaning, how = changed(value, interval, "%"), f"{source}; in turn with its base"
    if merges:
        meaning += " It was timed with its adapter beside the weights; merged, it does the same work as its base."
    return Figure(measure + CHANGE, value, interval, "measured", how, "%", better, meaning)


def _median(values: Sequence[float]) -> tuple[float, Range]:
    """The median with its 95 % interval, answers drawn anew."""
    import numpy as np

    drawn = np.random.default_rng(0).choice(np.array(values), (_DRAWS, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(np.median(values)), (float(low), float(high))
