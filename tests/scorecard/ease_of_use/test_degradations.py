"""Each planted degradation moves the measure that is meant for it, and no measure that is meant for another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from carrara.errors import Refusal
from carrara.scorecard.ease_of_use.answers import Answer, InRoles
from carrara.scorecard.ease_of_use.cards import read_cards, read_instructions
from carrara.scorecard.ease_of_use.compared import compared
from carrara.scorecard.ease_of_use.consistency import closeness
from carrara.scorecard.ease_of_use.following import counted_following
from carrara.scorecard.ease_of_use.manner import counted_manner, formality
from carrara.scorecard.ease_of_use.roles import counted_in_roles, role_figures
from tests.scorecard.ease_of_use.speaking import kept, plain, swapped, unkept

CARDS = read_cards()
ROLES, MANNER = kept(CARDS), plain(CARDS)


def _values(roles: InRoles, manner: Sequence[Sequence[Answer]]) -> dict[str, float]:
    return {each.measure: each.value for each in [*counted_in_roles(CARDS, roles), *counted_manner(manner)]}


def _moved(roles: InRoles = ROLES, manner: Sequence[Sequence[Answer]] = MANNER) -> dict[str, float]:
    """The measures that are not what they were, and by how much."""
    before, after = _values(ROLES, MANNER), _values(roles, manner)
    return {measure: after[measure] - before[measure] for measure in before if after[measure] != before[measure]}


def test_what_is_not_degraded_is_as_good_as_can_be() -> None:
    found = _values(ROLES, MANNER)
    assert found["persona discrimination"] == pytest.approx(100)
    assert found["self-identification"] == found["required words used"] == found["forbidden words avoided"] == 100
    assert (found["answers that end"], found["answers repeating themselves"], found["answer length"]) == (100, 0, 14)


def test_swapped_personas_move_what_tells_them_apart_and_the_words_of_their_cards() -> None:
    moved = _moved(roles=swapped(CARDS, ROLES))
    assert moved == {"persona discrimination": pytest.approx(-100), "required words used": -100}


def test_another_name_moves_the_self_identification() -> None:
    who = {name: ["I am an AI assistant.", *answers[1:]] for name, answers in ROLES.who.items()}
    assert _moved(roles=InRoles(ROLES.topics, who)) == {"self-identification": pytest.approx(-100 / 3)}


def test_a_maker_beside_the_name_is_no_self_identification() -> None:
    who = {name: [f"I am {name}, a language model."] * 3 for name in ROLES.who}
    assert _moved(roles=InRoles(ROLES.topics, who)) == {"self-identification": -100}


def test_a_forbidden_word_moves_its_rule_alone() -> None:
    topics = {
        persona.name: [[f"{text} It is {persona.forbidden}." for text in topic] for topic in ROLES.topics[persona.name]]
        for persona in CARDS.personas
    }
    assert _moved(roles=InRoles(topics, ROLES.who)) == {"forbidden words avoided": -100}


def test_truncation_moves_the_share_of_answers_that_end() -> None:
    cut = [[Answer(answer.text[: len(answer.text) // 2], False) for answer in topic] for topic in MANNER]
    moved = _moved(manner=cut)
    assert moved.keys() == {"answers that end", "answer length"}
    assert moved["answers that end"] == -100
    assert moved["answer length"] < -5


def test_looping_moves_repetition_and_length() -> None:
    looping = [[Answer(f"{answer.text} " * 4, answer.ended) for answer in topic] for topic in MANNER]
    moved = _moved(manner=looping)
    assert moved.keys() == {"answers repeating themselves", "answer length"}
    assert moved["answers repeating themselves"] > 70


@pytest.mark.parametrize(
    ("text", "measure"),
    [("Is that so?", "answers asking back"), ("I'm sorry, but no.", "refusals"), ("Therefore one shall.", "formality")],
)
def test_each_manner_has_its_measure(text: str, measure: str) -> None:
    added = [[Answer(f"{answer.text} {text}", answer.ended) for answer in topic] for topic in MANNER]
    moved = _moved(manner=added)
    assert moved[measure] > 0
    casual = {"formality"} if "'" in text else set[str]()
    assert moved.keys() - {"answer length"} - casual == {measure}


def test_formality_is_signed() -> None:
    assert formality("Therefore it is essential, however late.") == pytest.approx(100 * 3 / 6)
    assert formality("Hey, it's okay.") == pytest.approx(-100)
    assert formality("") == 0


def test_an_instruction_not_followed_is_counted() -> None:
    instructions = read_instructions()[:1]
    for text, value in (("A tall light by the sea.", 100), ("word " * 30, 0)):
        assert counted_following(instructions, [Answer(text, True)])[0].value == value


def test_agreement_beyond_that_of_others_is_consistency() -> None:
    """Personas that say something of their own each time, all the same, or new things each time."""
    generator = np.random.default_rng(0)
    of_persona = generator.normal(size=(6, 10, 1, 64)).repeat(2, axis=2)
    of_all = generator.normal(size=(1, 10, 1, 64)).repeat(6, axis=0).repeat(2, axis=2)
    of_nobody = generator.normal(size=(6, 10, 2, 64))
    nearer = [
        closeness(each / np.linalg.norm(each, axis=-1, keepdims=True)) for each in (of_persona, of_all, of_nobody)
    ]
    assert nearer[0][0].mean == pytest.approx(1, abs=0.05)
    assert nearer[0][1] == pytest.approx(1)
    assert (nearer[1][0].mean, nearer[1][1]) == (pytest.approx(0), pytest.approx(1))
    assert nearer[2][0].mean == pytest.approx(0, abs=0.05)


# ---- as figures ----


def test_a_tuned_model_stands_beside_its_base() -> None:
    figures = {figure.measure: figure for figure in role_figures(CARDS, ROLES, unkept(CARDS))}
    own, base = figures["persona discrimination"], figures["persona discrimination (base)"]
    change = figures["persona discrimination (change)"]
    assert own.value == pytest.approx(100)
    assert isinstance(base.value, float)
    assert base.value < 30
    assert own.interval
    assert base.interval
    assert base.interval[0] < 100 / 6 < base.interval[1] < own.interval[0]
    assert change.value == pytest.approx(100 - base.value)
    assert change.unit == "points"
    assert change.interval
    assert change.interval[1] <= 100
    whole = figures["self-identification (change)"]
    assert whole.value == 100
    assert whole.interval
    assert 30 < whole.interval[0] < whole.interval[1] == 100  # as sure as both shares, no surer
    assert change.meaning.startswith("Tuning raised this by ")
    p = figures["persona discrimination p"].value, figures["persona discrimination p (base)"].value
    assert p[0] == pytest.approx(1e-4)
    assert isinstance(p[1], float)
    assert p[1] > 0.05
    confusion = figures["persona confusion"]
    assert str(confusion.value).startswith("Captain Brine 100% 0% 0% 0% 0% 0%; Granny Maple 0% 100%")
    assert confusion.meaning == "No answer is taken for another persona than its own."


def test_a_base_that_cannot_be_asked_is_unknown_and_the_model_stands() -> None:
    figures = compared(counted_manner(MANNER), Refusal("it cannot chat."))
    assert [figure.kind for figure in figures] == ["measured", "unknown"] * 6
    assert figures[1].measure == "answer length (base)"
    assert figures[1].source == "it cannot chat."


def test_what_cannot_be_told_is_not_told() -> None:
    figures = {figure.measure: figure for figure in compared(counted_manner(MANNER), counted_manner(plain(CARDS, 1)))}
    change = figures["refusals (change)"]
    assert (change.value, change.meaning) == (0, "Whether tuning changed this cannot be told from these answers.")
