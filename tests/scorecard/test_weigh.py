"""Weights: read, applied, and moved until another candidate wins."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.errors import Refusal
from carrara.scorecard.figure import CRITERIA, Criterion
from carrara.scorecard.weigh import Score, Scores, read_weights, switches, total

NUMBER = st.floats(0.0, 1.0)


def _scores(*values: float) -> Scores:
    return {name: Score(value, value - 0.1, value + 0.1) for name, value in zip(CRITERIA, values, strict=True)}


def test_weights_that_are_not_named_are_1() -> None:
    assert read_weights("accuracy=3, cost=0") == {
        "accuracy": 3.0,
        "creativity": 1.0,
        "privacy": 1.0,
        "ease_of_use": 1.0,
        "cost": 0.0,
    }
    assert set(read_weights(None).values()) == {1.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("luck=2", "'luck=2' names no criterion"),
        ("", "names no criterion"),
        ("accuracy", "accuracy has a number of 0 or more, such as accuracy=3, not ''"),
        ("accuracy=-1", "not '-1'"),
        ("accuracy=inf", "not 'inf'"),
        ("accuracy=nan", "not 'nan'"),
        ("accuracy=1,accuracy=2", "names accuracy twice"),
        (",".join(f"{name}=0" for name in CRITERIA), "gives every criterion 0"),
    ],
)
def test_what_is_no_weight_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        read_weights(text)


def test_the_score_is_the_weighted_mean_with_the_errors_of_its_parts() -> None:
    weights = read_weights("accuracy=3")
    found = total(_scores(0.9, 0.5, 0.5, 0.5, 0.5), weights)
    assert found.likely == pytest.approx((3 * 0.9 + 4 * 0.5) / 7)
    assert found.likely - found.low == pytest.approx(0.1 * math.sqrt(9 + 4) / 7)


def test_the_weight_that_changes_the_winner_is_where_the_two_are_even() -> None:
    first, second = _scores(0.9, 0.5, 0.5, 0.5, 0.3), _scores(0.5, 0.5, 0.5, 0.5, 0.6)
    found = {each.criterion: each for each in switches([first, second], read_weights(None))}
    assert found["accuracy"].at == pytest.approx(0.75)  # 0.4 a = 0.3
    assert found["cost"].at == pytest.approx(4 / 3)
    assert found["cost"].winner == 1
    assert found["privacy"].at is None  # both are alike in it


def test_a_difference_that_is_but_rounding_is_none() -> None:
    first, second = _scores(0.9, 0.5, 0.1 + 0.2, 0.5, 0.5), _scores(0.5, 0.5, 0.3, 0.5, 0.5)
    assert (
        next(each for each in switches([first, second], read_weights(None)) if each.criterion == "privacy").at is None
    )


def test_a_criterion_that_alone_decides_cannot_be_taken_away() -> None:
    """At 0 nothing would be left that decides."""
    first, second = _scores(0.9, 0.5, 0.5, 0.5, 0.3), _scores(0.5, 0.5, 0.5, 0.5, 0.6)
    alone = read_weights("accuracy=2,creativity=0,privacy=0,ease_of_use=0,cost=0")
    found = {each.criterion: each.at for each in switches([first, second], alone)}
    assert found["accuracy"] is None
    assert found["cost"] == pytest.approx(8 / 3)


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER, NUMBER), min_size=2, max_size=5), st.sampled_from(CRITERIA))
def test_short_of_the_switch_the_winner_stays_and_beyond_it_goes(
    drawn: list[tuple[float, ...]], criterion: Criterion
) -> None:
    weights = read_weights(None)
    ranked = sorted((_scores(*values) for values in drawn), key=lambda own: -total(own, weights).likely)
    found = next(each for each in switches(ranked, weights) if each.criterion == criterion)

    def leads(weight: float) -> float:
        moved: dict[Criterion, float] = {**weights, criterion: weight}
        return total(ranked[0], moved).likely - max(total(own, moved).likely for own in ranked[1:])

    if found.at is None:
        assert min(leads(0.0), leads(50.0)) > -1e-9
    else:
        assert found.winner is not None
        short, beyond = (1 + (found.at - 1) * share for share in (0.999, 1.001))
        assert leads(short) > -1e-9
        assert beyond < 0 or leads(beyond) < 1e-9
