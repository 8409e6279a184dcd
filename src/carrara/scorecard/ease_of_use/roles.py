"""Role adherence: whether a model keeps the persona that its system message asks for."""

from __future__ import annotations

from collections.abc import Callable

from carrara.errors import Refusal
from carrara.scorecard.ease_of_use.answers import ROLE_TOKENS, InRoles
from carrara.scorecard.ease_of_use.cards import Cards, Persona, says
from carrara.scorecard.ease_of_use.compared import Counted, compared
from carrara.scorecard.ease_of_use.tally import Tally, tally
from carrara.scorecard.ease_of_use.telling import DRAWS, Told, tell
from carrara.scorecard.figure import BASE, Figure

DISCRIMINATION, IDENTIFICATION = "persona discrimination", "self-identification"
REQUIRED, AVOIDED = "required words used", "forbidden words avoided"
_TELLING = 0.05  # a p value below which the personas are told apart


def role_figures(cards: Cards, mine: InRoles, base: InRoles | Refusal | None) -> list[Figure]:
    """The figures of role adherence of a model and its base; `base` may be why it has none."""
    before = counted_in_roles(cards, base) if isinstance(base, InRoles) else base
    figures = compared(counted_in_roles(cards, mine), before) + _of_telling(cards, mine)
    if isinstance(base, InRoles):
        figures += _of_telling(cards, base, BASE)
    return figures


def counted_in_roles(cards: Cards, answered: InRoles) -> list[Counted]:
    """How often answers sound like their persona, name it, use the word it must and avoid the one it must not."""
    told = tell(cards.personas, answered.topics).hits
    right, chance = told.mean, 1 / len(cards.personas)
    named = tally(
        [
            [says(text, (persona.name,)) and not says(text, cards.makers) for text in answered.who[persona.name]]
            for persona in cards.personas
        ]
    )
    used, used_by_others = _holding(cards, answered, lambda persona: persona.required)
    held, held_by_others = _holding(cards, answered, lambda persona: persona.forbidden)
    avoided = Tally(tuple(count - hits for hits, count in zip(held.sums, held.counts, strict=True)), held.counts)
    return [
        Counted(
            DISCRIMINATION,
            told,
            f"{_source(cards)}, balanced accuracy; each answer taken for the persona whose words it holds most of",
            f"By their words, {right:.0%} of its answers are those of the persona asked; chance gives {chance:.0%}.",
            "higher",
        ),
        Counted(
            IDENTIFICATION,
            named,
            f"greedy, {sum(named.counts)} answers of {len(cards.personas)} personas to who they are",
            f"Asked who it is, it names its persona, and no maker or language model, in {named.mean:.0%} of answers.",
            "higher",
        ),
        Counted(
            REQUIRED,
            used,
            _source(cards),
            f"{used.mean:.0%} of its answers use the word that their card asks for; {used_by_others:.0%} of those "
            "under another card use it, too.",
            "higher",
        ),
        Counted(
            AVOIDED,
            avoided,
            _source(cards),
            f"{avoided.mean:.0%} of its answers avoid the word that their card forbids; {1 - held_by_others:.0%} of "
            "those under another card, which may use it, avoid it, too.",
            "higher",
        ),
    ]


def _holding(cards: Cards, answered: InRoles, word: Callable[[Persona], str]) -> tuple[Tally, float]:
    """The answers by topic that hold the word of their own persona, and the share of all others that hold it."""
    own: list[list[float]] = [[] for _ in cards.topics]
    others: list[float] = []
    for persona in cards.personas:
        for speaker in cards.personas:
            for place, texts in enumerate(answered.topics[speaker.name]):
                holds = [float(says(text, (word(persona),))) for text in texts]
                (own[place] if speaker == persona else others).extend(holds)
    return tally(own), sum(others) / len(others)


def _of_telling(cards: Cards, answered: InRoles, end: str = "") -> list[Figure]:
    """The p value of the discrimination, and which persona was taken for which."""
    told = tell(cards.personas, answered.topics)
    verdict = "more often than chance would have it" if told.p < _TELLING else "no better than chance may do"
    rows = "; ".join(
        f"{persona.name} " + " ".join(f"{share:.0%}" for share in row)
        for persona, row in zip(cards.personas, told.confusion, strict=True)
    )
    return [
        Figure(
            f"{DISCRIMINATION} p{end}",
            told.p,
            None,
            "measured",
            f"permutation test, one-sided, {DRAWS:,} orders of the personas within each topic",
            meaning=f"Its answers tell which persona was asked for {verdict}.",
        ),
        Figure(
            f"persona confusion{end}",
            rows,
            None,
            "measured",
            f"{_source(cards)}; rows: who answered; columns: who was taken to have, in the same order",
            meaning=_most_confused(cards, told),
        ),
    ]


def _most_confused(cards: Cards, told: Told) -> str:
    names = [persona.name for persona in cards.personas]
    share, speaker, taken = max(
        (share, names[row], names[column])
        for row, shares in enumerate(told.confusion)
        for column, share in enumerate(shares)
        if row != column
    )
    if not share:
        return "No answer is taken for another persona than its own."
    return f"The commonest slip: {share:.0%} of the answers of {speaker} are taken for {taken}."


def _source(cards: Cards) -> str:
    wordings = len(cards.topics[0])
    answers = len(cards.personas) * len(cards.topics) * wordings
    return (
        f"greedy, {ROLE_TOKENS} tokens, {answers} answers of {len(cards.personas)} personas to {len(cards.topics)} "
        f"topics in {wordings} wordings"
    )
