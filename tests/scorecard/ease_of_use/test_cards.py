"""The cards that ship: nobody sounds like a persona by repeating what was read."""

from __future__ import annotations

from itertools import chain

import pytest

from carrara.evaluate.text.instructions import KINDS, check
from carrara.scorecard.ease_of_use.cards import Persona, digest_of_cards, read_cards, read_instructions, says


def test_no_card_and_no_question_sounds_like_anybody() -> None:
    cards = read_cards()
    read = [*(persona.card for persona in cards.personas), *cards.questions, *cards.who]
    assert [text for text in read for persona in cards.personas if persona.sounds(text)] == []


def test_personas_have_as_many_words_and_share_none() -> None:
    personas = read_cards().personas
    assert {len(persona.words) for persona in personas} == {40}
    every = [*chain.from_iterable(persona.words for persona in personas)]
    assert len(set(every)) == len(every)


def test_cards_name_their_persona_and_their_words() -> None:
    cards = read_cards()
    for persona in cards.personas:
        assert says(persona.card, (persona.name,))
        assert f'"{persona.required}"' in persona.card
        assert f'"{persona.forbidden}"' in persona.card
        assert not says(persona.card, cards.makers)
    assert {len(topic) for topic in cards.topics} == {2}
    assert len(digest_of_cards()) == 64


def test_a_word_counts_once_with_any_ending_and_not_inside_another() -> None:
    persona = Persona("A", "", "", "", ("sail", "tide"))
    assert persona.sounds("Sail on, sails! We sailed with the TIDES.") == 2
    assert persona.sounds("A sailor's untidetable assails.") == 0


@pytest.mark.parametrize(("text", "found"), [("I'm an AI.", True), ("an AIR raid", False), ("ChatGPT-like", True)])
def test_phrases_are_whole_words_in_any_case(text: str, found: bool) -> None:
    assert says(text, ("an ai", "chatgpt")) is found


def test_instructions_can_be_checked_and_are_not_followed_by_nothing() -> None:
    instructions = read_instructions()
    assert len(instructions) == 24
    assert {each.kind for each in instructions} <= KINDS.keys()
    assert not any(check("", each.kind, each.settings, each.prompt) for each in instructions)
