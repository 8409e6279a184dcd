"""HellaSwag: which of four endings follows (arXiv 1905.07830), asked on the validation split."""

from __future__ import annotations

import re
from pathlib import Path

from carrara.tasks.rows import Row, read_rows
from carrara.tasks.task import Item, Task


def clean(text: str) -> str:
    """The harness's clean-up, in its order: stripping comes first, so a text may still end in a space."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def read(path: Path) -> list[Item]:
    """The validation split in its raw fields; `ind` repeats, so an item is named by its row.

    Items of one video or one how-to article are a cluster. Raises ValueError naming the row and the field.
    """
    return [_item(position, row) for position, row in enumerate(read_rows(path))]


def _item(position: int, row: Row) -> Item:
    begun = f"{row.text('ctx_a')} {row.text('ctx_b').capitalize()}"
    endings = row.choices("endings", clean)
    return Item(
        position=position,
        id=str(position),
        context=clean(f"{row.text('activity_label')}: {begun}"),
        choices=endings,
        gold=row.gold("label", len(endings)),
        cluster=row.text("source_id") if "source_id" in row.fields else "",
        question=clean(begun).strip(),
    )


def read_train(path: Path) -> list[Item]:
    """The train split as the OLMES project cleaned it, whose rule for `[title]` differs by a full stop."""
    return [_example(position, row) for position, row in enumerate(read_rows(path))]


def _example(position: int, row: Row) -> Item:
    choices = row.choices("choices")
    return Item(position, str(position), row.filled("query"), choices, row.gold("gold", len(choices)))


HELLASWAG = Task(
    name="hellaswag",
    kind="choice",
    file="hellaswag/hellaswag_val.jsonl",
    read=read,
    shots={"leaderboard-2023-10": 10, "lm-eval-0.4-openllm": 10},
    train_file="hellaswag/hellaswag_train_olmes.jsonl.gz",
    read_train=read_train,
    draws_one_more=True,
)
