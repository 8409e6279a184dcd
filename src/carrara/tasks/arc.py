"""ARC, the AI2 Reasoning Challenge: school science questions of three to five choices (arXiv 1803.05457)."""

from __future__ import annotations

import json
from pathlib import Path

from carrara.tasks.task import Item, Task


def read(path: Path) -> list[Item]:
    """The questions of a split; answer keys are letters or the digits 1 to 4, as their labels are."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return [
        Item(
            position=position,
            id=row["id"],
            context=f"Question: {row['question']}\nAnswer:",
            choices=tuple(row["choices"]["text"]),
            gold=row["choices"]["label"].index(row["answerKey"]),
        )
        for position, row in enumerate(rows)
    ]


def _arc(name: str, folder: str, leaderboard_shots: int) -> Task:
    return Task(
        name=name,
        kind="choice",
        file=f"arc/{folder}/test.jsonl",
        read=read,
        shots={"lm-eval-0.4": 0, "leaderboard-2023-10": leaderboard_shots},
        train_file=f"arc/{folder}/train.jsonl",
        read_train=read,
    )


ARC_EASY = _arc("arc_easy", "ARC-Easy", leaderboard_shots=0)  # the leaderboard did not ask it
ARC_CHALLENGE = _arc("arc_challenge", "ARC-Challenge", leaderboard_shots=25)
