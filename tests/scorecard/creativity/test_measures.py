"""The measures of one prompt's answers, and the figures that are made of them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.evaluate.text.recited import Recited
from carrara.scorecard.creativity.answers import WORDS, Answer
from carrara.scorecard.creativity.coherence import Order, is_coherent
from carrara.scorecard.creativity.figures import BASE, MODEL, figure_of, figures_of, interval_of, values_of
from carrara.scorecard.creativity.measures import (
    CREATIVITY,
    MEASURES,
    Judged,
    Measure,
    guarded_spread,
    spread,
)

BY_NAME = {measure.name: measure for measure in MEASURES}


def _judged(
    text: str = "some words", angle: float = 0.0, coherent: bool = True, prompt: int = 0, temperature: float = 0.7
) -> Judged:
    vector = np.array([math.cos(angle), math.sin(angle)], dtype=np.float32)
    return Judged(Answer(prompt, temperature, text, ended=True), 1.0, coherent, vector, recited=0.25)


def test_only_pairs_of_coherent_answers_count() -> None:
    """At right angles two of three answers are a distance of 1 apart, and one lies where another does."""
    group = [_judged(angle=0.0), _judged(angle=math.pi / 2), _judged(angle=math.pi / 2)]
    assert spread(group) == guarded_spread(group) == pytest.approx(2 / 3)
    group[0] = replace(group[0], is_coherent=False)
    assert spread(group) == pytest.approx(2 / 3)
    assert guarded_spread(group) == pytest.approx(0.0, abs=1e-6)
    assert spread(group[:1]) is None
    assert spread([replace(each, vector=None) for each in group]) is None


def test_noise_gains_nothing_by_lying_far_apart() -> None:
    calm = [_judged(angle=0.3 * n) for n in range(4)]
    noise = [_judged(angle=1.5 * n, coherent=False) for n in range(4)]
    assert (spread(noise) or 0) > 2 * (spread(calm) or 0) > 0.2
    assert guarded_spread(noise) == 0.0 < (guarded_spread(calm) or 0)


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=2, max_size=6))
def test_the_guard_only_takes_away(made: list[tuple[float, bool]]) -> None:
    group = [_judged(angle=angle, coherent=coherent) for angle, coherent in made]
    raw, guarded = spread(group), guarded_spread(group)
    assert raw is not None
    assert guarded is not None
    assert -1e-6 <= guarded <= raw + 1e-6


def test_what_each_measure_makes_of_a_group() -> None:
    texts = ["the same few words again", "the same few words again"]
    group = [_judged(text) for text in texts]
    found = {name: measure.of(group) for name, measure in BY_NAME.items()}
    assert found["distinct-1"] is None  # ten words are fewer than the budget
    assert found["MTLD"] is None
    assert found["self-BLEU"] == pytest.approx(1.0)
    assert found["novelty"] == pytest.approx(0.75)
    assert (found["endless loops"], found["missing ends"], found["coherent answers"]) == (0.0, 0.0, 1.0)
    looping = [_judged("on and on we go " * 5), _judged("something else")]
    assert BY_NAME["endless loops"].of(looping) == 0.5
    assert BY_NAME["repetition"].of(looping) == pytest.approx((1 - 5 / 22) / 2)


def test_mtld_needs_words_and_says_no_more_than_it_knows() -> None:
    """Four answers of 12 different words are just enough; no word comes again in any, so nothing can be counted."""
    group = [_judged(" ".join(f"{n}w{w}" for w in range(12))) for n in range(4)]
    assert BY_NAME["MTLD"].of(group) == 0.0
    assert BY_NAME["MTLD"].of([*group[:3], _judged(" ".join("abcdefghijk"))]) is None
    unseen = figure_of(BY_NAME["MTLD"], dict.fromkeys(range(4), 0.0), "")
    assert (unseen.value, unseen.kind) == (None, "unknown")
    seen = figure_of(BY_NAME["MTLD"], {0: 0.0, 1: 0.01, 2: 0.03, 3: 0.0}, "")
    assert isinstance(seen.value, float)
    assert seen.value == pytest.approx(100.0)  # one over the mean, not the mean of what is endless in two
    assert seen.interval
    low, high = seen.interval
    assert 20 < low < 100 < high == 4 * 48
    assert "about 100 words before" in seen.meaning


def test_the_same_answer_again_and_again_is_no_diversity() -> None:
    """Vectors of one text differ by rounding; the interval is that of none out of so many prompts."""
    vector = np.array([0.6, 0.8], dtype=np.float32) * np.float32(1 - 6e-8)
    alike = [replace(_judged(), vector=vector) for _ in range(3)]
    assert spread(alike) == guarded_spread(alike) == 0.0


def test_an_answer_too_short_to_recite_says_nothing_of_novelty() -> None:
    mute = [replace(_judged(""), recited=Recited(["a row"]).share(""))]
    assert BY_NAME["novelty"].of(mute) is None


def test_diversity_is_of_the_first_words_and_faults_of_all() -> None:
    words = [f"w{n}" for n in range(3 * WORDS)]
    texts = [" ".join(words[n:] + words[:n]) for n in range(4)]
    long, short = [_judged(text) for text in texts], [_judged(" ".join(text.split()[:WORDS])) for text in texts]
    for name in ("distinct-1", "distinct-2", "MTLD", "self-BLEU", "compression ratio"):
        assert BY_NAME[name].of(long) == pytest.approx(BY_NAME[name].of(short))
    assert _judged("  one\n two").beginning == "  one\n two"
    assert _judged("").beginning == ""


def test_compression_is_at_equal_size() -> None:
    ratio = BY_NAME["compression ratio"].of
    prose = ["When the bridge was opened, nobody came but a heron, two goats and the widow of its builder, "] * 4
    differ = [prose[0][3 * n :] + "and so it went on until the evening of that day came" for n in range(4)]
    assert ratio([_judged(text * 2) for text in differ]) == ratio([_judged(text) for text in differ])
    assert (ratio([_judged(text) for text in prose]) or 0) > 3
    assert ratio([_judged("too short") for _ in range(4)]) is None


def _looping(words: list[str]) -> str:
    return " ".join(words[:WORDS] + words[WORDS - 4 : WORDS] * 8)


@pytest.mark.parametrize(
    ("spoil", "ended", "rows", "meant"),
    [
        (_looping, True, False, {"repetition", "endless loops", "coherent answers", "creativity"}),
        (lambda words: " ".join(words[: WORDS + 2]), False, False, {"missing ends"}),
        (" ".join, True, True, {"novelty"}),
    ],
    ids=["looping", "cut short", "recited"],
)
def test_a_fault_moves_the_measures_that_are_meant_for_it(
    spoil: Callable[[list[str]], str], ended: bool, rows: bool, meant: set[str]
) -> None:
    draw = random.Random(2)
    texts = [draw.choices([f"word{n}" for n in range(400)], k=50) for _ in range(16)]

    def judged(text: str, number: int, ended: bool, recited: Recited) -> Judged:
        vector = np.array([math.cos(number), math.sin(number)], dtype=np.float32)
        coherent = is_coherent(text, Order(1.0, 1.0), least=0.5)
        return Judged(Answer(number % 4, 0.7, text, ended), 1.0, coherent, vector, recited.share(text))

    unread, read = Recited([]), Recited(map(" ".join, texts))
    own = [judged(" ".join(words), number, True, unread) for number, words in enumerate(texts)]
    spoilt = [judged(spoil(words), n, ended, read if rows else unread) for n, words in enumerate(texts)]
    moved = {name for name, measure in BY_NAME.items() if values_of(measure, own) != values_of(measure, spoilt)}
    assert moved == meant


def test_values_are_means_over_the_temperatures_of_each_prompt() -> None:
    ended = Measure("ended", lambda group: float(group[0].answer.ended), lambda value: "")
    answers = [_judged(temperature=0.7), _judged(temperature=1.0), _judged(prompt=1)]
    answers[1] = replace(answers[1], answer=replace(answers[1].answer, ended=False))
    assert values_of(ended, answers) == {0: 0.5, 1: 1.0}


def test_a_figure_says_how_far_it_lies_from_its_base() -> None:
    values = dict(enumerate([0.40, 0.44, 0.42, 0.46, 0.41, 0.43]))
    lower = {prompt: value - 0.1 - 0.01 * (prompt % 2) for prompt, value in values.items()}
    figure = figure_of(CREATIVITY, values, "how", MODEL, lower)
    assert figure.value == pytest.approx(0.4267, abs=1e-4)
    assert figure.interval is not None
    assert figure.interval[0] < 0.4267 < figure.interval[1] < 0.47
    assert "lie 0.43 apart" in figure.meaning
    assert "more than its base by 0.11" in figure.meaning
    assert "less than its base" in figure_of(CREATIVITY, lower, "how", MODEL, values).meaning
    near = {prompt: value + (-1) ** prompt * 0.02 for prompt, value in values.items()}
    assert "No difference from its base is shown" in figure_of(CREATIVITY, values, "how", MODEL, near).meaning
    assert "the same on every prompt" in figure_of(CREATIVITY, values, "how", MODEL, values).meaning


def test_too_few_prompts_are_no_figure() -> None:
    figure = figure_of(CREATIVITY, {0: 0.4, 3: 0.5}, "how")
    assert (figure.kind, figure.value) == ("unknown", None)
    assert "only 2 of the open prompts" in figure.source


def test_what_was_never_seen_may_have_been_missed() -> None:
    assert interval_of([0.0] * 16, 1.0) == (0.0, pytest.approx(0.206, abs=1e-3))
    assert interval_of([1.0] * 16, 1.0) == (pytest.approx(0.794, abs=1e-3), 1.0)
    low, high = interval_of([0.0] * 8 + [0.5] * 8, 1.0)
    assert 0.05 < low < 0.25 < high < 0.45


def test_intervals_cover_the_mean_of_other_prompts() -> None:
    """Prompts drawn from a skewed population with mean 0.2, 150 times 16 of them."""
    draw = np.random.default_rng(1)
    found = [interval_of(draw.beta(1, 4, 16).tolist(), 1.0) for _ in range(150)]
    covered = np.mean([low <= 0.2 <= high for low, high in found])
    assert 0.9 <= covered <= 0.99


def test_what_is_lacking_is_told_and_the_rest_stands() -> None:
    texts = [" ".join(f"{n}x{w}" for w in range(40)) for n in range(32)]
    answers = [_judged(text, n, True, n % 4, (0.7, 1.0)[n % 8 // 4]) for n, text in enumerate(texts)]
    judged = {MODEL: answers, BASE: answers}
    figures = {each.measure: each for each in figures_of(judged, "how", {"embedder": "no embedder is here."})}
    assert figures["creativity"].kind == figures["semantic spread (base)"].kind == "unknown"
    assert figures["creativity"].source == "no embedder is here."
    assert figures["distinct-2"].value == figures["distinct-2 (base)"].value == pytest.approx(1.0)
    names = [*BY_NAME, "creativity at 0.7", "creativity at 1"]
    assert set(figures) == {name + suffix for name in names for suffix in (MODEL, BASE)}
