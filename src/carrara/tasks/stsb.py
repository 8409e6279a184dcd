"""STS-B: how alike people find two sentences, from 0 to 5 (arXiv 1708.00055), asked on the test split."""

from __future__ import annotations

import math
from pathlib import Path

from carrara.tasks.rows import Row, read_table
from carrara.tasks.task import Item, Task

_COLUMNS = ("sentence1", "sentence2", "score")
_HIGHEST = 5.0


def read(path: Path) -> list[Item]:
    """The pairs of a split, with a header or without; raises ValueError naming the row and the field that is wrong."""
    rows = read_table(path, _COLUMNS)
    header = [row for row in rows[:1] if tuple(row.fields.values()) == _COLUMNS]
    pairs = enumerate(rows[len(header) :])
    return [item_of_pair(position, row, *_COLUMNS, highest=_HIGHEST) for position, row in pairs]


def item_of_pair(
    position: int, row: Row, first: str, second: str, score: str, highest: float = math.inf, id: str | None = None
) -> Item:
    """The item of a row whose fields `first` and `second` are two texts, and `score` a number from 0 to `highest`."""
    text = row.filled(first)
    return Item(
        position=position,
        id=str(position) if id is None else id,
        context=text,
        choices=(row.filled(second),),
        gold=0,
        question=text,
        score=row.amount(score, highest),
    )


STSB = Task(
    name="stsb",
    kind="pairs",
    file="stsb/stsb-en-test.csv",
    read=read,
    shots={},
    metrics=("spearman", "pearson"),
)
