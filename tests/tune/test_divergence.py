"""Divergence: a run that explodes or stays bad is stopped soon, one that is only noisy never."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from carrara.tune.divergence import Watch

VOCABULARY = 49_152


def _stops(curve: Iterable[float], steps: int) -> int | None:
    watch = Watch()
    for step, loss in enumerate(curve, 1):
        if watch.see(loss, steps, VOCABULARY):
            return step
    return None


def _noisy(kind: str, spread: float, steps: int, seed: int) -> list[float]:
    """A loss that falls from 2 to 1.2 with the noise of small batches, some of them far off."""
    chance = random.Random(f"{kind} {spread} {steps} {seed}")
    noise = {
        "normal": lambda: chance.gauss(0, spread),
        "lognormal": lambda: 2 * (math.exp(chance.gauss(-spread * spread / 2, spread)) - 1),
        "spikes": lambda: 5 if chance.random() < 0.05 else chance.gauss(0, spread / 2),
    }[kind]
    return [max(0.01, 1.2 + 0.8 * math.exp(-3 * step / steps) + noise()) for step in range(steps)]


@pytest.mark.parametrize("kind", ["normal", "lognormal", "spikes"])
@pytest.mark.parametrize("spread", [0.1, 0.4, 0.8])
def test_noise_never_stops_a_run(kind: str, spread: float) -> None:
    for steps, seeds in ((4, 500), (12, 500), (40, 300), (400, 30), (2000, 6)):
        stopped = [seed for seed in range(seeds) if _stops(_noisy(kind, spread, steps, seed), steps)]
        assert not stopped, (steps, stopped)


def test_an_explosion_stops_a_run_within_a_few_steps() -> None:
    """The losses of TRL at a learning rate of 10: 1.5, then 66."""
    assert _stops([1.5, 20, 40, 60, 66, 66, 67], 500) == 4
    assert _stops([1.5] * 100 + [9, 20, 21, 27, 21], 500) == 104


@pytest.mark.parametrize("level", [4.5, 6, 7.5])
def test_a_loss_that_stays_bad_stops_a_run(level: float) -> None:
    chance = random.Random(0)
    bad = [level + chance.gauss(0, 0.3) for _ in range(400)]
    assert _stops([1.4, *bad], 400) == 21
    assert _stops([1.4] * 100 + bad, 400) == 120
    assert _stops([1.4] * 20 + bad, 40) is not None


def test_a_spike_that_passes_stops_nothing() -> None:
    assert _stops([1.4] * 100 + [9] * 10 + [3, 2] + [1.4] * 100, 400) is None


def test_a_bad_step_is_uneasy_at_once_and_forgotten_when_it_is_over() -> None:
    watch = Watch()
    uneasy = []
    for loss in [1.4, 1.3, 1.4, 8.0, 1.4]:
        watch.see(loss, 400, VOCABULARY)
        uneasy.append(watch.is_uneasy(400))
    assert uneasy == [False, False, False, True, False]


@pytest.mark.parametrize(("loss", "stops"), [(1.2, False), (5.0, False), (13.0, True), (math.nan, True)])
def test_a_held_out_loss_worse_than_guessing_stops_a_run(loss: float, stops: bool) -> None:
    watch = Watch()
    watch.see(1.4, 2, VOCABULARY)
    assert bool(watch.see_held_out(loss, VOCABULARY)) == stops
