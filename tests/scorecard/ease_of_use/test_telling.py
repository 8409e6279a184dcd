"""Telling personas apart: finds who keeps roles, finds nobody else, and is wrong as rarely as its p value says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from carrara.scorecard.ease_of_use import telling
from carrara.scorecard.ease_of_use.cards import Cards, read_cards
from carrara.scorecard.ease_of_use.telling import DRAWS, tell
from tests.scorecard.ease_of_use.speaking import kept, swapped, unkept


@pytest.fixture(scope="module")
def cards() -> Cards:
    return read_cards()


def test_kept_personas_are_told_without_a_slip(cards: Cards) -> None:
    told = tell(cards.personas, kept(cards).topics)
    assert told.balanced_accuracy == pytest.approx(1.0)
    assert told.hits.sums == pytest.approx((12.0,) * 10)
    assert told.p == pytest.approx(1 / (1 + DRAWS))
    assert told.confusion[2] == pytest.approx((0, 0, 1, 0, 0, 0))


def test_answers_of_the_wrong_persona_are_wrong_even_if_always_the_same_one(cards: Cards) -> None:
    told = tell(cards.personas, swapped(cards, kept(cards)).topics)
    assert told.balanced_accuracy == 0
    assert told.p > 0.99
    assert told.confusion[0][1] == pytest.approx(1.0)


def test_answers_that_sound_like_nobody_are_at_chance_and_prove_nothing(cards: Cards) -> None:
    answers = {persona.name: [["Yes."] * 2] * len(cards.topics) for persona in cards.personas}
    told = tell(cards.personas, answers)
    assert told.balanced_accuracy == pytest.approx(1 / 6)
    assert told.p == 1


def test_a_copied_card_sounds_like_nobody(cards: Cards) -> None:
    answers = {persona.name: [[persona.card] * 2] * len(cards.topics) for persona in cards.personas}
    assert tell(cards.personas, answers).balanced_accuracy == pytest.approx(1 / 6)


def test_p_values_are_uniform_where_the_card_changes_nothing(cards: Cards, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though both wordings of a topic get the same answer, and many answers sound like nobody."""
    monkeypatch.setattr(telling, "DRAWS", 499)
    found = [tell(cards.personas, unkept(cards, seed).topics).p for seed in range(200)]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert sum(p <= 0.05 for p in found) <= stats.binom.ppf(0.995, 200, 0.05)


def test_a_persona_kept_in_one_answer_of_five_is_found(cards: Cards) -> None:
    true, nobody = kept(cards), unkept(cards)
    mixed = {
        name: [true.topics[name][place] if place % 5 == 0 else nobody.topics[name][place] for place in range(10)]
        for name in true.topics
    }
    told = tell(cards.personas, mixed)
    assert 0.2 < told.balanced_accuracy < 0.5
    assert told.p < 0.01


def test_the_order_of_personas_changes_nothing(cards: Cards) -> None:
    answers = unkept(cards, 5).topics
    turned = replace(cards, personas=cards.personas[::-1])
    one, other = tell(cards.personas, answers), tell(turned.personas, answers)
    assert other.balanced_accuracy == pytest.approx(one.balanced_accuracy)
    assert other.confusion[0][0] == pytest.approx(one.confusion[5][5])
    assert other.p == pytest.approx(one.p, abs=0.03)
