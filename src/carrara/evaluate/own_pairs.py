"""A user's own task of similarity: a short YAML file that names two columns of texts and one of scores."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import yaml

from carrara.data.read.records import read_fields
from carrara.evaluate.own_task import TaskName, require_new_name
from carrara.recipe import Section, read_section
from carrara.tasks.rows import Row
from carrara.tasks.stsb import item_of_pair
from carrara.tasks.task import Item, Task


class PairsFile(Section):
    """`data` is a file of rows beside this one; `first`, `second` and `score` are its columns.

    A score tells how alike people find the two texts, from 0 up.
    """

    name: TaskName
    data: Path
    first: str
    second: str
    score: str


def is_of_pairs(path: Path) -> bool:
    """Whether a task file is one of pairs; what cannot be read is none, and whoever reads it says why."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return False
    return isinstance(content, dict) and "question" not in content and bool({"first", "second", "score"} & set(content))


def read_own_pairs(path: Path) -> Task:
    """The task that a file of pairs describes; `file` is a path. Raises Refusal with the key that is wrong."""
    own = read_section(path, PairsFile, "task file")
    require_new_name(path, own.name)
    return Task(
        name=own.name,
        kind="pairs",
        file=str(path.parent / own.data),
        read=partial(_read, own),
        shots={},
        metrics=("spearman", "pearson"),
    )


def _read(own: PairsFile, path: Path) -> list[Item]:
    return [
        item_of_pair(position, Row(row, fields), own.first, own.second, own.score, id=str(row))
        for position, (row, fields) in enumerate(read_fields(path))
    ]
