"""MMLU, exam questions of four choices on 57 subjects (arXiv 2009.03300), answered by a letter."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from carrara.tasks.rows import Row, read_rows
from carrara.tasks.task import Item, Task

_LETTERS = ("A", "B", "C", "D")


def read(path: Path) -> list[Item]:
    """The questions of a split, their subject as category.

    They have no names of their own, so an item is named by its subject and its place there.
    Raises ValueError naming the row and the field that is wrong.
    """
    places: Counter[str] = Counter()
    items: list[Item] = []
    for position, row in enumerate(read_rows(path)):
        subject = row.filled("subject")
        items.append(_item(position, f"{subject}/{places[subject]}", subject, row))
        places[subject] += 1
    return items


def _item(position: int, name: str, subject: str, row: Row) -> Item:
    question, answers = row.filled("question").strip(), row.choices("choices")
    if len(answers) != len(_LETTERS):
        raise row.wrong("choices", f"there must be {len(_LETTERS)}, and there are {len(answers)}")
    listed = "".join(f"{letter}. {answer}\n" for letter, answer in zip(_LETTERS, answers, strict=True))
    return Item(
        position=position,
        id=name,
        context=f"{question}\n{listed}Answer:",
        choices=_LETTERS,
        gold=row.gold("answer", len(answers)),
        category=subject,
        question=question,
        answers=answers,
    )


MMLU = Task(
    name="mmlu",
    kind="choice",
    file="mmlu/test.jsonl",
    read=read,
    shots={"leaderboard-2023-10": 5, "lm-eval-0.4-openllm": 5},
    metrics=("acc",),
    has_category_mean=True,
    train_file="mmlu/dev.jsonl",
    read_train=read,
    preamble="The following are multiple choice questions (with answers) about {category}.\n\n",
    shots_are="first_of_category",
)
