"""Exposure: exact ranks, rising with repetition, at chance for what was never planted."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.models import Model
from carrara.models.adapters import load_together
from carrara.models.load import load_model
from carrara.scorecard.figure import Figure
from carrara.scorecard.privacy.exposure import (
    CHANCE,
    bits_of_rank,
    exposure_figures,
    exposures,
    figure_of,
    grow,
    log_likelihoods,
)
from carrara.scorecard.subject import load_pair
from carrara.tune.canaries import hold_back, plant
from carrara.workspace import Workspace
from tests.scorecard.privacy.tiny_words import plain_rows, tuned, word_model
from tests.tiny import one_thread, write_pairs


@pytest.mark.parametrize(
    ("scores", "place", "bits"),
    [
        ([0.0, -1.0, -2.0, -3.0], 0, 2.0),
        ([0.0, -1.0, -2.0, -3.0], 3, 0.0),
        ([0.0, -1.0, -2.0, -3.0], 1, 1.0),
        ([0.0, 0.0, 0.0, 0.0], 2, math.log2(4 / 2.5)),
    ],
)
def test_bits_follow_from_the_rank(scores: list[float], place: int, bits: float) -> None:
    assert bits_of_rank(np.array(scores), place, np.ones(4, dtype=bool)) == pytest.approx(bits)


def test_other_planted_secrets_do_not_count() -> None:
    eligible = np.array([False, True, False, True])
    assert bits_of_rank(np.array([-1.0, -2.0, 0.0, -3.0]), 0, eligible) == pytest.approx(math.log2(3))


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=12))
def test_a_tree_holds_each_continuation(continuations: list[list[int]]) -> None:
    tree = grow(continuations)
    for ids, (place, last) in zip(continuations, tree.ends, strict=True):
        path = [last]
        while place >= 0:
            path.append(tree.ids[place])
            place = tree.parents[place]
        assert path[::-1] == ids
    assert len(tree.ids) == len({tuple(ids[:length]) for ids in continuations for length in range(1, len(ids))})


def test_a_tree_scores_as_each_text_alone(tiny_model: Model) -> None:
    import torch

    loaded = load_model(tiny_model, "float32")
    prompt, continuations = [5, 9, 20, 31], [[7], [7, 8, 9], [7, 8, 10], [11, 12], [7, 30]]
    found = log_likelihoods(loaded, prompt, grow(continuations))
    for ids, value in zip(continuations, found.tolist(), strict=True):
        with torch.inference_mode():
            logits = loaded.network(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
        alone = sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(ids))
        assert value == pytest.approx(alone, abs=1e-4)


def _by_group(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.measure.removeprefix("canary exposure, "): figure for figure in figures}


@pytest.mark.slow
def test_exposure_rises_with_repetition(workspace: Workspace, tmp_path: Path) -> None:
    rows = plain_rows(workspace, write_pairs(tmp_path / "pairs.jsonl", 60), test=0.1, validation=0.05)
    subject = tuned(workspace, word_model(workspace, tmp_path / "model"), rows, canaries=8, epochs=2)
    pair = load_pair(subject)
    assert pair.base
    with one_thread():
        found = _by_group(exposure_figures(subject, pair.model, pair.base))
    bits = [float(found[f"planted {repeats}x"].value or 0.0) for repeats in (1, 4, 16, 64)]
    assert bits[0] < bits[2] <= bits[3] + 0.5
    assert bits[3] > 10
    assert "gives such secrets away" in found["planted 64x"].meaning
    assert {group for group, each in found.items() if each.better} == {f"planted {n}x" for n in (1, 4, 16, 64)}
    for group in ("never planted", "never planted (base)", "planted 64x (base)"):
        low, high = found[group].interval or (0.0, 0.0)
        assert low < CHANCE < high, group
        assert "nothing tells" in found[group].meaning
    assert "4,089 candidates" in found["planted 64x"].source


@pytest.mark.slow
def test_what_was_never_planted_is_at_chance_in_repeated_runs(workspace: Workspace, tmp_path: Path) -> None:
    """The held-back secrets of 8 draws, behind a model that learned others: their mean is that of chance."""
    rows = plain_rows(workspace, write_pairs(tmp_path / "pairs.jsonl", 40), test=0.1, validation=0.05)
    subject = tuned(workspace, word_model(workspace, tmp_path / "model"), rows, canaries=4, epochs=2)
    model = load_together([subject.model])[0]
    planted = plant(4, 0)
    told = [canary.secret for canary in planted]
    with one_thread():
        bits = [exposures(model, hold_back(planted, 24, seed), told, "plain", seed)[1] for seed in range(8)]
    everything = np.concatenate(bits)
    assert abs(everything.mean() - CHANCE) < 3 * CHANCE / math.sqrt(len(everything))
    assert np.quantile(everything, 0.5) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize(
    ("repeats", "suffix", "bits", "better", "said"),
    [
        (4, "", 9.0, "lower", "gives such secrets away"),
        (4, "", 1.4, "lower", "nothing tells"),
        (0, "", 9.0, None, "A control: it stands above chance (1.44 bits) here, by accident or by the words"),
        (4, " (base)", 9.0, None, "A control: it stands above chance"),
        (0, " (base)", 1.4, None, "nothing tells"),
    ],
)
def test_a_control_gives_nothing_away(repeats: int, suffix: str, bits: float, better: str | None, said: str) -> None:
    figure = figure_of(repeats, suffix, [bits] * 8, 12.0)
    assert figure.better == better
    assert said in figure.meaning
    assert ("gives such secrets away" in figure.meaning) == (better is not None and bits > 2)


def test_a_tree_that_would_be_large_has_fewer_candidates(tiny_model: Model) -> None:
    """To the tiny tokenizer a word is as many tokens as it has letters."""
    model = load_together([tiny_model])[0]
    with one_thread():
        ceiling, bits = exposures(model, hold_back([], 3, 0), [], "plain", 0)
    assert 6 < ceiling < 9
    assert all(0 <= each <= ceiling for each in bits)
