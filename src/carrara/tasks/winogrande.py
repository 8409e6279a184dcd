"""WinoGrande: which of two words fills the gap in a sentence (arXiv 1907.10641), asked on the validation split.

Partial scoring (arXiv 1806.02847): a model reads the sentence up to the gap with one word or the other in it, and
the same rest of the sentence is scored behind both.
"""

from __future__ import annotations

from pathlib import Path

from carrara.tasks.rows import Row, read_rows
from carrara.tasks.task import Item, Task

_GAP = "_"


def read(path: Path) -> list[Item]:
    """The sentences of a split, `answer` being 1 or 2; raises ValueError naming the row and the field that is wrong."""
    return [_item(position, row) for position, row in enumerate(read_rows(path))]


def _item(position: int, row: Row) -> Item:
    sentence = row.filled("sentence")
    before, gap, after = sentence.partition(_GAP)
    rest = after.strip()
    if not gap:
        raise row.wrong("sentence", f"it has no gap '{_GAP}'")
    if not rest:
        raise row.wrong("sentence", f"nothing stands behind its gap '{_GAP}'")
    words = row.filled("option1"), row.filled("option2")
    return Item(
        position=position,
        id=str(position),
        context=before,
        choices=(rest, rest),
        gold=row.gold("answer", len(words), first=1),
        stems=words,
        question=sentence,
        answers=words,
    )


WINOGRANDE = Task(
    name="winogrande",
    kind="choice",
    file="winogrande/validation.jsonl",
    read=read,
    shots={"lm-eval-0.4-openllm": 5},  # the leaderboard did not ask it in October 2023
    metrics=("acc",),
    train_file="winogrande/train.jsonl",
    read_train=read,
    draws_one_more=True,
)
