"""Which questions a task asks under a protocol, in which order and with which examples before them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from carrara.data.checks.contamination import near_copies
from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.evaluate.blocks import cut_into_blocks
from carrara.evaluate.judges import signatures
from carrara.evaluate.own_pairs import is_of_pairs, read_own_pairs
from carrara.evaluate.own_task import read_own_task
from carrara.evaluate.protocol import Asked, Protocol, asked_in_order, build_context, shot_rule, shots_for
from carrara.models import Model
from carrara.progress import Progress
from carrara.recipe import EvaluateRecipe
from carrara.tasks import BENCHMARKS, is_own
from carrara.tasks.questions import Question, bare_questions
from carrara.tasks.sources import BenchmarkFile, find_benchmark, find_notes, read_items, read_task
from carrara.tasks.task import Item, Task
from carrara.workspace import Workspace, user_path

_OF_CATEGORY = 16  # items of a block within a category: a limit asks few of each, and a block's passes are run whole


@dataclass(frozen=True)
class Questions:
    """A task ready to be asked: the whole split in the protocol's order, and which of it is wanted.

    `blocks` are the places that are scored together. `items` and `pool`, which are the examples, are by position; where
    questions have choices, those of blocks in which nothing is wanted are left out, often tens of thousands.
    """

    task: Task
    items: Mapping[int, Item]
    pool: Mapping[int, Item]
    order: Sequence[Asked]
    wanted: Sequence[bool]
    blocks: Sequence[Sequence[int]]
    receipt: dict[str, Any]

    def item(self, place: int) -> Item:
        """The item that is asked at a place of the order."""
        return self.items[self.order[place].position]

    def context(self, place: int) -> str:
        """All the text before an answer to that item."""
        return build_context(self.task, self.item(place), [self.pool[shot] for shot in self.order[place].shots])


def _task_of(name: str) -> Task:
    """The benchmark of that name, or the task that the file of that name describes; raises Refusal."""
    if not is_own(name):
        return BENCHMARKS[name]
    path = user_path(name)
    return read_own_pairs(path) if is_of_pairs(path) else read_own_task(path)


def require_able(model: Model, task: Task | None) -> None:
    """Refuse a task that an embedder cannot do, which gives no text a likelihood and writes none."""
    if model.is_embedder and (task is None or task.kind != "pairs"):
        raise Refusal(f"{model.name} only turns texts into vectors; ask it stsb, or a task of pairs of your own.")


def ask(
    workspace: Workspace,
    name: str,
    protocol: Protocol,
    recipe: EvaluateRecipe,
    not_near: Dataset | None,
    progress: Progress,
) -> Questions:
    """The questions of a benchmark, or of the task file that `name` is; raises Refusal if they cannot be had."""
    own = user_path(name) if is_own(name) else None
    task = _task_of(name)
    find = partial(_own_file, workspace) if own else partial(_benchmark, workspace, recipe, progress)
    shots = shots_for(task, protocol, recipe.shots)
    file = find(task.file)
    notes = None if own else find_notes(workspace, task, recipe.benchmarks, progress)
    items = read_task(task, file, notes)
    if not items:
        raise Refusal(f"{file.path} holds no question of {task.name}; fetch it again.")
    pool: list[Item] = []
    pool_file = None
    if shots:
        if not (task.train_file and task.read_train):
            raise Refusal(f"{task.name} has no examples to draw from; leave --shots away.")
        pool_file = find(task.train_file)
        pool = read_items(task.name, pool_file, task.read_train)
        if shots >= len(pool):
            raise Refusal(f"{task.name} has {len(pool)} examples to draw from; lower --shots from {shots}.")
    order = asked_in_order(protocol, task, items, pool, shots)
    near = _near_copies(task, items, not_near)
    wanted, skipped = _wanted(order, items, near, recipe.limits.get(task.name, recipe.limit))
    kept = [asked.position for asked, is_wanted in zip(order, wanted, strict=True) if is_wanted]
    if not kept:
        raise Refusal(f"every question of {task.name} is a near-copy of a training row; leave --skip-near-copies away.")
    receipt = {
        "file": Path(task.file).name if own else task.file,
        "sha256": file.sha256,
        "source": file.source,
        "task_file_sha256": workspace.digest(own) if own else None,
        "notes_sha256": notes.sha256 if notes else None,
        "shots": shots,
        "shot_rule": shot_rule(protocol, task),
        "shot_delimiter": task.shot_delimiter,
        "target_delimiter": task.target_delimiter,
        "shots_sha256": pool_file.sha256 if pool_file else None,
        "items": len(kept),
        "of": len(items),
        "items_sha256": hashlib.sha256(json.dumps(kept).encode()).hexdigest(),
        "near_copies_skipped": skipped,
        **(_rules_of_writing(task) if task.kind == "text" else {}),
    }
    return _ready(task, items, pool, order, wanted, receipt)


def _blocks(task: Task, items: Sequence[Item], order: Sequence[Asked]) -> list[list[int]]:
    """The places of the order that are scored together: of one category, where a category shares its examples."""
    if task.shots_are != "first_of_category" or not order[0].shots:
        return cut_into_blocks(range(len(order)))
    members: dict[str, list[int]] = {}
    for place, asked in enumerate(order):
        members.setdefault(items[asked.position].category, []).append(place)
    return [block for places in members.values() for block in cut_into_blocks(places, _OF_CATEGORY)]


def _ready(
    task: Task,
    items: Sequence[Item],
    pool: Sequence[Item],
    order: Sequence[Asked],
    wanted: Sequence[bool],
    receipt: dict[str, Any],
) -> Questions:
    """The questions with what will be looked at: of a task without choices that is the whole split."""
    blocks = _blocks(task, items, order)
    has_choices = task.kind in ("choice", "truth_mass")
    asked = [block for block in blocks if not has_choices or any(wanted[place] for place in block)]
    looked_at = [order[place] for block in asked for place in block]
    held = {each.position: items[each.position] for each in looked_at}
    shown = {shot: pool[shot] for each in looked_at for shot in each.shots}
    return Questions(task, held, shown, order, wanted, blocks, receipt)


def _rules_of_writing(task: Task) -> dict[str, Any]:
    return {
        "chat_template": task.is_chat,
        "max_tokens": task.max_tokens,
        "stops": list(task.stops),
        "signatures": signatures(task.judge),
    }


def _benchmark(workspace: Workspace, recipe: EvaluateRecipe, progress: Progress, name: str) -> BenchmarkFile:
    return find_benchmark(workspace, name, recipe.benchmarks, progress)


def _own_file(workspace: Workspace, path: str) -> BenchmarkFile:
    if not Path(path).is_file():
        raise Refusal(f"{path}, which the task file names, is no file; correct the task file or put the rows there.")
    return BenchmarkFile(Path(path), workspace.digest(Path(path)), "own")


def _near_copies(task: Task, items: Sequence[Item], training: Dataset | None) -> set[str]:
    """The ids of the questions that a training row holds."""
    if training is None:
        return set()
    rows = (example.texts for example in training.each("train"))
    if task.name in BENCHMARKS and task.kind != "pairs":
        return near_copies(bare_questions(task.name, items), rows)
    return near_copies([Question(task.name, item.id, item.context, item.choices, item.gold) for item in items], rows)


def _wanted(order: Sequence[Asked], items: Sequence[Item], near: set[str], limit: int | None) -> tuple[list[bool], int]:
    """Marks the first `limit` items that are no near-copies of training rows; how many were skipped on the way."""
    wanted = [False] * len(order)
    kept = skipped = 0
    for place, asked in enumerate(order):
        if kept == limit:
            break
        wanted[place] = items[asked.position].id not in near
        kept += wanted[place]
        skipped += not wanted[place]
    return wanted, skipped
