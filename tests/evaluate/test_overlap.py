"""Near-copies of training rows are found, also short ones, and other questions are not."""

from __future__ import annotations

import pytest

from carrara.evaluate.overlap import TrainingTexts

TRAINING = TrainingTexts(
    [
        "Question: Which gas do plants take in during photosynthesis?\nAnswer:",
        "Question: What is ice?\nAnswer:",
    ]
)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("Question: Which gas do plants take in during photosynthesis?\nAnswer:", True),
        ("question:  WHICH gas do plants take in during photosynthesis\nanswer", True),
        ("Question: Which gas do most plants take in during photosynthesis?\nAnswer:", True),
        ("Question: What is ice?\nAnswer:", True),
        ("Question: What is rust made of, and where does it form?\nAnswer:", False),
        ("Question: Which animal eats plants?\nAnswer:", False),
        ("", False),
    ],
)
def test_near_copies(text: str, near: bool) -> None:
    assert TRAINING.has_near_copy(text) is near
