"""Looking after every item costs nothing: false stops, directions and intervals by simulation."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.verdict import statistics
from carrara.verdict.sequential import anytime_p, log_e_value, most_lost, share_interval

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


def test_a_difference_is_found() -> None:
    generator = np.random.default_rng(1)
    found = [anytime_p(np.where(generator.random(400) < 0.7, -1, 1)) for _ in range(100)]
    assert sum(p <= 0.05 for p in found) >= 98


def test_what_was_found_on_the_way_stays() -> None:
    outcomes = [0] * 5 + [1] * 9 + [-1] * 9
    found = [anytime_p(outcomes[:n]) for n in range(1, len(outcomes) + 1)]
    assert all(later <= earlier for earlier, later in pairwise(found))
    assert next(n for n, p in enumerate(found, start=1) if p <= 0.05) == 12  # the seventh win in a row
    assert found[11] == pytest.approx(math.exp(-float(log_e_value(7, 0))))
    assert found[-1] == pytest.approx(math.exp(-float(log_e_value(9, 0))))


@given(outcomes=OUTCOMES)
@settings(max_examples=60, deadline=None)
def test_swapping_the_models_changes_nothing(outcomes: list[int]) -> None:
    assert anytime_p(outcomes) == pytest.approx(anytime_p([-outcome for outcome in outcomes]))
    assert 0 < anytime_p(outcomes) <= 1


def test_many_flips_do_not_overflow() -> None:
    assert anytime_p([1] * 3000) < 1e-300
    assert anytime_p([]) == 1.0


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


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_the_most_that_may_be_lost_is_where_the_e_value_just_suffices(alpha: float) -> None:
    flips = np.arange(60)
    for count, lost in zip(flips.tolist(), most_lost(flips, alpha).astype(int).tolist(), strict=True):
        enough = [k for k in range(count // 2 + 1) if float(log_e_value(count - k, k)) >= -math.log(alpha)]
        assert lost == max(enough, default=-1)
