"""What a model answers to the cards, to the questions without a card, and to instructions; greedy, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.data.example import Message
from carrara.data.render.ends import end_tokens
from carrara.data.render.example import render_prompt
from carrara.errors import Refusal
from carrara.models.adapters import Adapted, switched_on
from carrara.models.generate import write_all
from carrara.models.load import Loaded
from carrara.scorecard.ease_of_use.abilities import require_system_role
from carrara.scorecard.ease_of_use.cards import Cards, Instruction
from carrara.scorecard.ease_of_use.telling import Answers

ROLE_TOKENS, PLAIN_TOKENS = 40, 96  # of an answer under a card, and of any other


@dataclass(frozen=True)
class Answer:
    """What was answered, and whether the model ended it before its tokens did."""

    text: str
    ended: bool


@dataclass(frozen=True)
class InRoles:
    """What the personas answered: by persona to the topics `(topics, wordings)`, and to who they are."""

    topics: Answers
    who: dict[str, list[str]]


@dataclass(frozen=True)
class ByItself:
    """What a model without a card answered: to the topics `(topics, wordings)`, and to each instruction."""

    topics: list[list[Answer]]
    instructions: list[Answer]


def answer_in_roles(adapted: Adapted, cards: Cards) -> InRoles:
    """Ask every persona everything; raises Refusal for a model that cannot chat or be given a role."""
    with switched_on(adapted) as loaded:
        require_system_role(loaded.tokenizer)
        chats = [chat for persona in cards.personas for chat in cards.chats(persona)]
        told = iter(_answers(loaded, chats, ROLE_TOKENS))
    topics: dict[str, list[list[str]]] = {}
    who: dict[str, list[str]] = {}
    for persona in cards.personas:
        topics[persona.name] = [[next(told).text for _ in topic] for topic in cards.topics]
        who[persona.name] = [next(told).text for _ in cards.who]
    return InRoles(topics, who)


def answer_by_itself(adapted: Adapted, cards: Cards, instructions: Sequence[Instruction]) -> ByItself:
    """Ask the model as it is; raises Refusal for one that cannot chat."""
    asked = [*cards.questions, *(instruction.prompt for instruction in instructions)]
    with switched_on(adapted) as loaded:
        told = iter(_answers(loaded, [(Message("user", each),) for each in asked], PLAIN_TOKENS))
    topics = [[next(told) for _ in topic] for topic in cards.topics]
    return ByItself(topics, [*told])


def _answers(loaded: Loaded, chats: Sequence[Sequence[Message]], budget: int) -> list[Answer]:
    prompts = [render_prompt(loaded.tokenizer, chat) for chat in chats]
    longest = max(map(len, prompts))
    if longest + budget > loaded.context:
        raise Refusal(
            f"{loaded.model.name} holds {loaded.context} tokens, and a question of {longest} with an answer of "
            f"{budget} does not fit; its answers are not judged."
        )
    return [Answer(each.text, each.ended) for each in write_all(loaded, prompts, budget, end_tokens(loaded))]
