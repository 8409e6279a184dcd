"""How a model speaks when nobody gives it a role: the personality that tuning may change without a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from carrara.evaluate.text.diversity import repeated
from carrara.scorecard.ease_of_use.answers import PLAIN_TOKENS, Answer
from carrara.scorecard.ease_of_use.cards import says
from carrara.scorecard.ease_of_use.compared import Counted
from carrara.scorecard.ease_of_use.tally import Tally, tally

LENGTH, ENDED, REPEATED = "answer length", "answers that end", "answers repeating themselves"
_REFUSALS = (
    "i can't",
    "i cannot",
    "i am unable",
    "i'm unable",
    "i am not able",
    "i'm not able",
    "i won't",
    "i'm sorry, but",
    "i am sorry, but",
    "i apologize, but",
    "i'm afraid i",
)
_FORMAL = re.compile(
    r"(?<!\w)(?:therefore|however|moreover|furthermore|additionally|consequently|regarding|ensures?|provides?|utili[sz]e|"
    r"individuals|essential|crucial|numerous|thus|hence|upon|shall|overall|various|maintain|require|obtain)(?!\w)",
    re.IGNORECASE,
)
_CASUAL = re.compile(
    r"(?<!\w)(?:\w+['’](?:m|s|re|ve|ll|d|t)|okay|ok|yeah|hey|hi|wow|gonna|wanna|cool|stuff|awesome|guys|lots?|kinda)(?!\w)",
    re.IGNORECASE,
)


def counted_manner(topics: Sequence[Sequence[Answer]]) -> list[Counted]:
    """Length, end, repetition, questions, refusals and formality of the answers `(topics, wordings)`."""

    def by_topic(of: Callable[[Answer], float]) -> Tally:
        return tally([[of(answer) for answer in topic] for topic in topics])

    length, ended = by_topic(lambda answer: len(answer.text.split())), by_topic(lambda answer: answer.ended)
    again = by_topic(lambda answer: repeated(answer.text))
    asking = by_topic(lambda answer: "?" in answer.text)
    refusing = by_topic(lambda answer: says(answer.text.replace("’", "'"), _REFUSALS))
    formal = by_topic(lambda answer: formality(answer.text))
    answers = sum(length.counts)
    source = (
        f"greedy, {PLAIN_TOKENS} tokens at most, {answers} answers to {len(topics)} topics without a system message"
    )
    tone = "formal than casual" if formal.mean > 0 else "casual than formal"
    return [
        Counted(LENGTH, length, source, f"It answers an everyday question in {length.mean:.0f} words.", unit="words"),
        Counted(
            ENDED,
            ended,
            source,
            f"{ended.mean:.0%} of its answers come to an end within {PLAIN_TOKENS} tokens.",
        ),
        Counted(
            REPEATED,
            again,
            f"{source}; runs of four words that stand earlier in the answer (rep-4)",
            f"{again.mean:.0%} of what it writes stands earlier in the same answer.",
            "lower",
        ),
        Counted("answers asking back", asking, source, f"{asking.mean:.0%} of its answers hold a question."),
        Counted("refusals", refusing, source, f"It refuses or excuses itself in {refusing.mean:.0%} of its answers."),
        Counted(
            "formality",
            formal,
            f"{source}; formal words less casual ones and contractions",
            f"Of 100 words, {abs(formal.mean):.1f} more are {tone}."
            if formal.mean
            else "It is as casual as it is formal.",
            unit="of 100 words",
        ),
    ]


def formality(text: str) -> float:
    """Formal words less casual words and contractions, of 100 words; 0 for a text without words."""
    words = len(text.split())
    return 100 * (len(_FORMAL.findall(text)) - len(_CASUAL.findall(text))) / words if words else 0.0
