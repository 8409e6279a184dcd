"""ARC, the AI2 Reasoning Challenge: school science questions of three to five choices (arXiv 1803.05457)."""

from __future__ import annotations

from pathlib import Path

from carrara.tasks.rows import Row, read_rows
from carrara.tasks.task import Item, Task


def read(path: Path) -> list[Item]:
    """The questions of a split; answer keys are letters or the digits 1 to 4, as their labels are.

    Raises ValueError naming the row and the field that is wrong.
    """
    return [_item(position, row) for position, row in enumerate(read_rows(path))]


def _item(position: int, row: Row) -> Item:
    question, options, key = row.filled("question"), row.part("choices"), row.text("answerKey")
    choices, labels = options.choices("text"), options.texts("label")
    if len(labels) != len(choices) or len(set(labels)) != len(labels):
        raise options.wrong("label", f"each of the {len(choices)} choices must have one, and they are {labels}")
    if key not in labels:
        raise row.wrong("answerKey", f"'{key}' is none of the labels {', '.join(labels)}")
    context = f"Question: {question}\nAnswer:"
    return Item(position, row.filled("id"), context, choices, labels.index(key), question=question)


def _arc(name: str, folder: str, leaderboard_shots: int) -> Task:
    return Task(
        name=name,
        kind="choice",
        file=f"arc/{folder}/test.jsonl",
        read=read,
        shots={"leaderboard-2023-10": leaderboard_shots, "lm-eval-0.4-openllm": leaderboard_shots},
        train_file=f"arc/{folder}/train.jsonl",
        read_train=read,
    )


ARC_EASY = _arc("arc_easy", "ARC-Easy", leaderboard_shots=0)  # the leaderboard did not ask it
ARC_CHALLENGE = _arc("arc_challenge", "ARC-Challenge", leaderboard_shots=25)
