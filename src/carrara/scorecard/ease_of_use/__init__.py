"""Ease of use: what a model can be used for, how fast it answers, whether it keeps roles and follows instructions.

Beside each figure of a tuned model stands that of its base, so that this room also tells whether tuning has changed
how fast a model answers and who it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from carrara.errors import Refusal
from carrara.models import CatalogueModel
from carrara.models.adapters import Adapted
from carrara.models.machine import count_cores
from carrara.scorecard.ease_of_use.abilities import ENGINES, FORMATS, SYSTEM_ROLE, ability_figures, merges
from carrara.scorecard.ease_of_use.answers import ByItself, InRoles, answer_by_itself, answer_in_roles
from carrara.scorecard.ease_of_use.cards import digest_of_cards, read_cards, read_instructions
from carrara.scorecard.ease_of_use.compared import Counted, compared
from carrara.scorecard.ease_of_use.consistency import CONSISTENCY, counted_consistency
from carrara.scorecard.ease_of_use.following import FOLLOWED, counted_following
from carrara.scorecard.ease_of_use.manner import ENDED, LENGTH, REPEATED, counted_manner
from carrara.scorecard.ease_of_use.roles import AVOIDED, DISCRIMINATION, IDENTIFICATION, REQUIRED, role_figures
from carrara.scorecard.ease_of_use.speed import FIRST, RATE, speed_figures, time_in_turn
from carrara.scorecard.embedder import embedder_digest, load_embedder
from carrara.scorecard.figure import BASE, Figure, unknown
from carrara.scorecard.subject import Pair, Subject

FORMAT = 3  # raised when the same model would get other figures
_Answered = TypeVar("_Answered")


def terms(subject: Subject) -> dict[str, Any]:
    """What determines the figures beside the model, its base, the rows and the seed; an embedder may come later."""
    embedder = embedder_digest(subject.workspace, subject.progress)
    return {"cards": digest_of_cards(), "cores": count_cores(), "embedder": embedder}


def measure(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """The figures of this criterion; `pair` loads the weights where they are needed.

    What a model cannot be asked, such as roles of one that cannot chat, is unknown with the reason.
    """
    figures: list[Figure] = []
    for part, measures in (
        (_abilities, (SYSTEM_ROLE, ENGINES, FORMATS)),
        (_speed, (FIRST, RATE)),
        (_roles, (DISCRIMINATION, IDENTIFICATION, REQUIRED, AVOIDED, CONSISTENCY)),
        (_manner, (FOLLOWED, LENGTH, ENDED, REPEATED)),
    ):
        subject.progress.say(f"ease of use: {measures[0]}")
        try:
            figures += part(subject, pair)
        except Refusal as refusal:
            figures += [unknown(measure, str(refusal)) for measure in measures]
    return figures


def published(entry: CatalogueModel) -> list[Figure]:
    """What the catalogue tells of a model that is not here: whether it chats, how much it holds, its languages."""
    source = entry.licence.source or entry.reference
    chats = "It can be talked to." if entry.template else "It continues texts; tune it before a chat."
    figures = [Figure("chat template", entry.template or "none", None, "published", source, meaning=chats)]
    if entry.context:
        holds = f"Question, conversation and answer together may have {entry.context:,} tokens."
        figures.append(Figure("context", entry.context, None, "published", source, "tokens", meaning=holds))
    if entry.languages:
        known = ", ".join(entry.languages)
        figures.append(Figure("languages", known, None, "published", source, meaning="Its publisher names these."))
    why = "the model is not here; `carrara models pull` fetches it, then `carrara scorecard` measures it."
    return figures + [unknown(measure, why) for measure in (FIRST, RATE, DISCRIMINATION, FOLLOWED)]


def _abilities(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    """Those of the base only where tuning changed them, such as the formats of an adapter."""
    own = ability_figures(subject.model)
    before = ability_figures(subject.base) if subject.base else own
    changed = [replace(old, measure=old.measure + BASE) for old, new in zip(before, own) if old.value != new.value]
    return own + changed


def _speed(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    voices = pair()
    timed = time_in_turn([voices.model, *([voices.base] if voices.base else [])])
    return speed_figures(timed[0], timed[1] if voices.base else None, merges(subject.model))


def _roles(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    cards, voices = read_cards(), pair()
    mine = answer_in_roles(voices.model, cards)
    base = _asked(lambda adapted: answer_in_roles(adapted, cards), voices.base)
    figures = role_figures(cards, mine, base)
    try:
        embedder = load_embedder(subject.workspace, subject.progress)
    except Refusal as refusal:
        return [*figures, unknown(CONSISTENCY, str(refusal))]

    def consistency(answered: InRoles) -> list[Counted]:
        return counted_consistency(embedder, cards, answered)

    return figures + compared(consistency(mine), consistency(base) if isinstance(base, InRoles) else base)


def _manner(subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
    cards, instructions, voices = read_cards(), read_instructions(), pair()

    def counted(answered: ByItself) -> list[Counted]:
        return counted_following(instructions, answered.instructions) + counted_manner(answered.topics)

    mine = answer_by_itself(voices.model, cards, instructions)
    base = _asked(lambda adapted: answer_by_itself(adapted, cards, instructions), voices.base)
    return compared(counted(mine), counted(base) if isinstance(base, ByItself) else base)


def _asked(ask: Callable[[Adapted], _Answered], base: Adapted | None) -> _Answered | Refusal | None:
    """What the base answers, or why it does not; None where there is none."""
    try:
        return ask(base) if base else None
    except Refusal as refusal:
        return refusal
