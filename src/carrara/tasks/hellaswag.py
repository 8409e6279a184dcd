"""HellaSwag: which of four endings follows (arXiv 1905.07830), asked on the validation split."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

from carrara.tasks.task import Item, Task


def clean(text: str) -> str:
    """The harness's clean-up, in its order: stripping comes first, so a text may still end in a space."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def read(path: Path) -> list[Item]:
    """The validation split in its raw fields; `ind` repeats, so an item is named by its row."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        Item(
            position=position,
            id=str(position),
            context=clean(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"),
            choices=tuple(clean(ending) for ending in row["endings"]),
            gold=int(row["label"]),
        )
        for position, row in enumerate(rows)
    ]


def read_train(path: Path) -> list[Item]:
    """The train split as the OLMES project cleaned it, whose rule for `[title]` differs by a full stop."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [
        Item(position, str(position), row["query"], tuple(row["choices"]), int(row["gold"]))
        for position, row in enumerate(rows)
    ]


HELLASWAG = Task(
    name="hellaswag",
    kind="choice",
    file="hellaswag/hellaswag_val.jsonl",
    read=read,
    shots={"lm-eval-0.4": 0, "leaderboard-2023-10": 10},
    train_file="hellaswag/hellaswag_train_olmes.jsonl.gz",
    read_train=read_train,
    draws_one_more=True,
)
