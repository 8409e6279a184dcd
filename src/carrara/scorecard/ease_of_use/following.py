"""Verifiable instructions: whether a model does what it is told, where a program can check it."""

from __future__ import annotations

from collections.abc import Sequence

from carrara.evaluate.text.instructions import check
from carrara.scorecard.ease_of_use.answers import PLAIN_TOKENS, Answer
from carrara.scorecard.ease_of_use.cards import Instruction
from carrara.scorecard.ease_of_use.compared import Counted
from carrara.scorecard.ease_of_use.tally import tally

FOLLOWED = "instructions followed"


def counted_following(instructions: Sequence[Instruction], answers: Sequence[Answer]) -> list[Counted]:
    """How many instructions were followed, each to the letter."""
    kept = tally(
        [
            [check(answer.text, asked.kind, asked.settings, asked.prompt)]
            for asked, answer in zip(instructions, answers, strict=True)
        ]
    )
    return [
        Counted(
            FOLLOWED,
            kept,
            f"greedy, {PLAIN_TOKENS} tokens at most, {len(instructions)} instructions of kinds of IFEval, strict",
            f"It follows {sum(kept.sums):.0f} of {len(instructions)} instructions that a program can check.",
            "higher",
        )
    ]
