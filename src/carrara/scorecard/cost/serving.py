"""What serving takes on this machine: memory, tokens a second by each engine, energy."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from statistics import fmean, stdev

from carrara.errors import Refusal
from carrara.models.adapters import Adapted, switched_on
from carrara.models.catalogue import Shape
from carrara.models.energy import watts_at_work
from carrara.models.fitted import MEMORY
from carrara.models.generate import write_all
from carrara.models.load import Loaded
from carrara.models.machine import count_cores, inspect_machine
from carrara.models.shape import shape_in
from carrara.models.stepper import Stepper
from carrara.scorecard.figure import BASE, Figure, unknown
from carrara.scorecard.subject import Pair, Subject

SPEED, FAST, TOGETHER = "tokens per second", "tokens per second (llama.cpp)", "tokens per second, 32 answers at once"
ENERGY = "energy per million tokens"
MEMORY_TO_SERVE = "memory to serve"
_HELD = 2048  # tokens of keys and values
_WRITTEN = 32  # tokens of an answer
_ROWS = 32
_LEAST = 3  # answers that are timed
_PROMPTS = (
    "Explain how bread is made, from the grain to the loaf.",
    "Describe a harbour in the early morning, before the boats go out.",
    "Why do leaves change their colour in autumn?",
    "Write a letter to a neighbour who has looked after your garden.",
    "What should somebody know before buying a used bicycle?",
)


def serving_figures(subject: Subject, pair: Pair) -> list[Figure]:
    """Memory in GB, tokens a second of each way to answer, watt-hours for a million tokens by the fastest."""
    subject.progress.say("cost: timing answers")
    shape, parameters = shape_in(subject.model.path)
    speeds = [_speed(pair.model, "")]
    if pair.base:
        speeds.append(_speed(pair.base, BASE))
    speeds += [_together(pair.model), _by_llamacpp(subject)]
    return [memory_figure(shape, parameters), *speeds, _energy(subject, [each for each in speeds if each.value])]


def memory_figure(shape: Shape, parameters: int) -> Figure:
    """Weights of two bytes, keys and values of 2,048 tokens, and what a process holds anyway; in GB."""
    cache, programs = 2 * 2 * shape.layers * shape.kv_heads * shape.head_width * _HELD, MEMORY["cpu"]["runtime"]
    held = parameters * 2 + cache + programs
    source = f"arithmetic: {parameters:,} weights of 2 bytes, keys and values of {_HELD:,} tokens, "
    source += f"{programs / 1e9:.1f} GB of programs"
    meaning = "What must be free to answer one conversation."
    return Figure(MEMORY_TO_SERVE, held / 1e9, None, "derived", source, "GB", "lower", meaning)


def _speed(adapted: Adapted, suffix: str) -> Figure:
    """One answer at a time with transformers, the prompt's reading among the time."""
    with switched_on(adapted) as loaded:
        rates = _rates(lambda text: _answer(loaded, text))
    return _figure(SPEED + suffix, rates, f"transformers in {str(adapted.loaded.dtype).removeprefix('torch.')}")


def _answer(loaded: Loaded, text: str) -> int:
    step = Stepper(loaded)
    logits = step(loaded.tokenizer(text).input_ids)
    for _ in range(_WRITTEN - 1):
        logits = step([int(logits.argmax())])
    return _WRITTEN


def _together(adapted: Adapted) -> Figure:
    with switched_on(adapted) as loaded:
        prompts: list[list[int]] = [loaded.tokenizer(_PROMPTS[row % len(_PROMPTS)]).input_ids for row in range(_ROWS)]
        began = time.perf_counter()
        written = write_all(loaded, prompts, _WRITTEN, ())
        rate = sum(len(each.ids) for each in written) / (time.perf_counter() - began)
    source = f"transformers, greedy, {_ROWS} answers of {_WRITTEN} tokens in one pass, once{_busy()}"
    meaning = f"Many answers at once come to {rate:,.0f} tokens a second in all."
    return Figure(TOGETHER, rate, None, "measured", source, "tokens/s", "higher", meaning)


def _by_llamacpp(subject: Subject) -> Figure:
    """By the engine that serves on a processor, in 8 bits; unknown where it cannot have the model."""
    from carrara.data.example import Message
    from carrara.serve.engine import ChatRequest, Piece
    from carrara.serve.engines import open_engine

    try:
        engine = open_engine("llamacpp", {"model": subject.model}, subject.workspace, "auto", subject.progress)
    except Refusal as refusal:
        return unknown(FAST, str(refusal))

    def rate(text: str) -> float | None:
        """Tokens a second behind the first; None for an answer that ends at once, which the model may do here."""
        asked = (Message("user", text),)
        request = ChatRequest(model="model", max_tokens=_WRITTEN, temperature=0.0, messages=asked)
        pieces = engine.answer(request, lambda: False)
        next(pieces)
        began = time.perf_counter()
        count = ([*pieces] or [Piece("")])[-1].completion_tokens or 0
        return (count - 1) / (time.perf_counter() - began) if count >= _WRITTEN // 4 else None

    try:
        rates = [found for text in (_PROMPTS[0], *_PROMPTS) if (found := rate(text))][1:]  # the first warms up
        if len(rates) < _LEAST:
            return unknown(FAST, f"fewer than {_LEAST} of its answers were long enough to be timed.")
        return _figure(FAST, rates, "llama.cpp in 8 bits, behind the first token")
    except Refusal as refusal:
        return unknown(FAST, str(refusal))
    finally:
        engine.close()


def _rates(answer: Callable[[str], int]) -> list[float]:
    """Tokens a second of one answer to each prompt, behind one that warms up."""
    answer(_PROMPTS[0])
    found: list[float] = []
    for text in _PROMPTS:
        began = time.perf_counter()
        tokens = answer(text)
        found.append(tokens / (time.perf_counter() - began))
    return found


def _figure(measure: str, rates: Sequence[float], how: str) -> Figure:
    """The geometric mean with an interval of 95 % over the answers (Student's t of the logarithms)."""
    from scipy import stats

    logs = [math.log(rate) for rate in rates]
    half = float(stats.t.ppf(0.975, len(logs) - 1)) * stdev(logs) / math.sqrt(len(logs))
    mean = math.exp(fmean(logs))
    source = f"{how}, greedy, {len(rates)} answers of {_WRITTEN} tokens, one at a time, here{_busy()}"
    meaning = f"A reader gets some {mean * 0.75:,.0f} words a second."
    return Figure(
        measure, mean, (mean / math.exp(half), mean * math.exp(half)), "measured", source, "tokens/s", "higher", meaning
    )


def _busy() -> str:
    """What else the machine did meanwhile, which made the answers slower."""
    load, cores = os.getloadavg()[0], count_cores()
    return f", while other work kept the machine busy (load {load:.0f} on {cores} cores)" if load > 1.5 * cores else ""


def _energy(subject: Subject, speeds: Sequence[Figure]) -> Figure:
    """From the power at work and the speed of one answer at a time, by the fastest way that was timed."""
    best = max((each for each in speeds if each.measure in (FAST, SPEED)), key=lambda each: float(each.value or 0))
    assert best.interval is not None, "an answer at a time is timed several times"
    rate = float(best.value or 0)
    watts, known = watts_at_work(inspect_machine(), subject.cost)
    hours = 1e6 / rate / 3600
    slow, quick = (1e6 / end / 3600 for end in best.interval)
    source = f"{watts.low:.0f} to {watts.high:.0f} W {known}, at the speed of {best.measure}; interval from "
    source += "the least power at the fast end of that speed's 95 % interval to the most power at its slow end"
    value, ends = watts.likely * hours, (watts.low * quick, watts.high * slow)
    meaning = f"A million tokens take {hours:,.1f} hours, one answer at a time."
    return Figure(ENERGY, value, ends, "derived", source, "Wh", "lower", meaning)
