"""Looking after every item costs nothing: false stops, directions and intervals by simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.verdict import statistics
from carrara.verdict.sequential import log_e_value, share_interval, watch

OUTCOMES = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=120)


@pytest.mark.parametrize(("won", "lost", "value"), [(0, 0, 1.0), (1, 0, 1.0), (2, 0, 1.5), (1, 1, 0.5), (3, 0, 2.5)])
def test_small_e_values(won: int, lost: int, value: float) -> None:
    """After a win the next one has probability 3/4 under the mixture and 1/2 under the coin, and so on."""
    assert math.exp(float(log_e_value(won, lost))) == pytest.approx(value)


@given(won=st.integers(0, 500), lost=st.integers(0, 500))
def test_the_expected_next_e_value_is_the_present_one(won: int, lost: int) -> None:
    here = float(log_e_value(won, lost))
    after = [math.exp(float(log_e_value(won + 1, lost)) - here), math.exp(float(log_e_value(won, lost + 1)) - here)]
    assert sum(after) / 2 == pytest.approx(1.0, rel=1e-8)


def test_like_models_are_rarely_stopped() -> None:
    """10,000 A/A paths of 1,000 flips, looked at after each: at most 5 % may ever stop; McNemar would stop many."""
    generator = np.random.default_rng(0)
    stopped = fooled = 0
    fewest = [next(k for k in range(n) if statistics.mcnemar_exact(k + 1, n - k - 1) >= 0.05) for n in (100, 1000)]
    for _ in range(10):
        won = np.cumsum(generator.integers(0, 2, (1000, 1000)), axis=1)
        lost = np.arange(1, 1001) - won
        stopped += int(np.sum(np.max(log_e_value(won, lost), axis=1) >= math.log(20)))
        least = np.minimum(won, lost)
        fooled += int(np.sum((least[:, 99] <= fewest[0]) | (least[:, 999] <= fewest[1])))
    assert 0.01 * 10_000 <= stopped <= 0.05 * 10_000
    assert fooled > 0.05 * 10_000  # two looks at a fixed-size test are enough to break it


def test_a_difference_is_found_in_its_direction() -> None:
    generator = np.random.default_rng(1)
    looks = [list(watch(np.where(generator.random(400) < 0.7, -1, 1).tolist()))[-1] for _ in range(100)]
    assert sum(look.verdict == "worse" for look in looks) >= 98
    assert not any(look.verdict == "better" for look in looks)


def test_a_verdict_once_given_stays() -> None:
    looks = list(watch([0] * 5 + [1] * 9 + [-1] * 40))
    stops = [look.items for look in looks if look.may_stop]
    assert stops == list(range(stops[0], 55))
    assert {look.verdict for look in looks if look.may_stop} == {"better"}
    assert all(later.p <= earlier.p for earlier, later in pairwise(looks))
    first = looks[stops[0] - 1]
    assert (first.won, first.lost, first.items) == (7, 0, 12)
    assert first.e_value >= 20 > looks[stops[0] - 2].e_value
    assert first.p == 1 / first.e_value


@given(outcomes=OUTCOMES)
@settings(max_examples=60, deadline=None)
def test_swapping_the_models_mirrors_every_look(outcomes: list[int]) -> None:
    opposite = {"better": "worse", "worse": "better", "can't tell": "can't tell"}
    for here, there in zip(watch(outcomes), watch([-outcome for outcome in outcomes]), strict=True):
        assert (here.won, here.lost, here.e_value) == (there.lost, there.won, pytest.approx(there.e_value))
        assert here.verdict == opposite[there.verdict]


def test_many_flips_do_not_overflow() -> None:
    assert list(watch([1] * 3000))[-1].e_value == pytest.approx(math.exp(700))


@given(won=st.integers(0, 400), lost=st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_interval_leaves_out_a_half_exactly_when_it_may_stop(won: int, lost: int) -> None:
    low, high = share_interval(won, lost)
    assert 0 <= low <= (won / (won + lost) if won + lost else 0.5) <= high <= 1
    assert (low > 0.5 or high < 0.5) == (float(log_e_value(won, lost)) > math.log(20))
    assert share_interval(lost, won) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_interval_covers_at_every_time_at_once(share: float) -> None:
    generator = np.random.default_rng(2)
    missed = 0
    for _ in range(100):
        won = np.cumsum(generator.random(200) < share)
        intervals = [share_interval(int(w), t - int(w)) for t, w in enumerate(won, start=1)]
        missed += any(not low <= share <= high for low, high in intervals)
    assert missed <= 0.05 * 100 + 2 * math.sqrt(0.05 * 0.95 * 100)
