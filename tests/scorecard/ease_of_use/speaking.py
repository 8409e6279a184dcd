"""Answers made up for tests: of speakers that keep their persona, and of ones whose card changes nothing."""

from __future__ import annotations

import random

from carrara.scorecard.ease_of_use.answers import Answer, InRoles
from carrara.scorecard.ease_of_use.cards import Cards

PLAIN = "well this is what one may say of it and then some more words about the whole of that matter".split()  # noqa: SIM905


def kept(cards: Cards, seed: int = 0, words: int = 3) -> InRoles:
    """Each answer holds so many words of its persona and obeys its card, each introduction its name."""
    chance = random.Random(seed)
    topics = {
        persona.name: [
            [_sentence(chance, [persona.required, *chance.sample(persona.words, words)]) for _ in topic]
            for topic in cards.topics
        ]
        for persona in cards.personas
    }
    return InRoles(topics, {persona.name: [f"I am {persona.name}."] * len(cards.who) for persona in cards.personas})


def unkept(cards: Cards, seed: int = 0, words: int = 2) -> InRoles:
    """Each answer holds words of any persona, whoever was asked; the two wordings of a topic get the same answer."""
    chance = random.Random(seed)
    every = [word for persona in cards.personas for word in persona.words]
    topics = {
        persona.name: [
            [_sentence(chance, chance.sample(every, chance.randrange(words + 1)))] * len(topic)
            for topic in cards.topics
        ]
        for persona in cards.personas
    }
    return InRoles(topics, {persona.name: ["I am a language model."] * len(cards.who) for persona in cards.personas})


def plain(cards: Cards, seed: int = 0) -> list[list[Answer]]:
    """Answers of somebody without a role, each whole."""
    chance = random.Random(seed)
    return [[Answer(_sentence(chance, []), True) for _ in topic] for topic in cards.topics]


def swapped(cards: Cards, answered: InRoles) -> InRoles:
    """Every persona's answers given to the next one, introductions left where they are."""
    names = [persona.name for persona in cards.personas]
    return InRoles(
        {name: answered.topics[other] for name, other in zip(names, names[1:] + names[:1], strict=True)}, answered.who
    )


def _sentence(chance: random.Random, words: list[str]) -> str:
    every = [*chance.sample(PLAIN, 14), *words]
    chance.shuffle(every)
    return f"{' '.join(every)}."
