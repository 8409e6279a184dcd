"""MMLU, exam questions of four choices on 57 subjects (arXiv 2009.03300); rows are checked against it, not scored."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from carrara.tasks.task import Item

FILE = "mmlu/test.jsonl"


def read(path: Path) -> list[Item]:
    """The test questions; they have no names of their own, so an item is named by its subject and its place there."""
    lines = path.read_text(encoding="utf-8").split("\n")  # a question holds marks that splitlines would split at
    rows = [json.loads(line) for line in lines if line.strip()]
    places: Counter[str] = Counter()
    items = []
    for position, row in enumerate(rows):
        choices, gold = tuple(row["choices"]), int(row["answer"])
        if not 0 <= gold < len(choices):
            raise ValueError(f"row {position + 1} has {len(choices)} choices and the answer {gold}")
        items.append(Item(position, f"{row['subject']}/{places[row['subject']]}", row["question"], choices, gold))
        places[row["subject"]] += 1
    return items
