"""Rows of benchmarks as tests invent and spoil them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ARC = {
    "id": "a",
    "question": "Which is right?",
    "choices": {"text": ["this", "that", "none"], "label": ["A", "B", "C"]},
    "answerKey": "B",
}
HELLASWAG = {
    "activity_label": "Roof",
    "ctx_a": "A man sits.",
    "ctx_b": "he",
    "endings": ["jumps.", "sings.", "sleeps.", "falls."],
    "label": 3,
    "source_id": "activitynet~v_1",
}
MMLU = {"question": "Why?", "subject": "world_religions", "choices": ["a", "b", "c", "d"], "answer": 1}
WINOGRANDE = {"sentence": "Ann thanked Bea since _ had helped.", "option1": "Ann", "option2": "Bea", "answer": "2"}
TRUTHFULQA = {
    "question": "Is it?",
    "mc1_targets": {"Yes.": 1, "No.": 0},
    "mc2_targets": {"Yes.": 1, "No.": 0, "Surely.": 1},
}
TRUTHFULQA_TABLE = {
    "Type": "Adversarial",
    "Category": "Law",
    "Question": "Is it?",
    "Best Answer": "Yes",
    "Correct Answers": "Yes; Surely.",
    "Incorrect Answers": "No;",
    "Source": "https://a",
}
IFEVAL = {
    "key": 1000,
    "prompt": "Write about it.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"relation": "at least", "num_words": 3, "num_sentences": None}],
}


def changed(row: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a row with another value at a dotted path; None removes the field."""
    copy = json.loads(json.dumps(row))
    *parents, last = path.split(".")
    place = copy
    for parent in parents:
        place = place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    """A file of JSON lines; marks beyond ASCII stand in it as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
