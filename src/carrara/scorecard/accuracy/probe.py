"""The probe: a model tuned on ever more of a dataset's rows, each time judged on the same rows that were held out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.evaluate.scores import Record
from carrara.models import Model
from carrara.models.adapters import load_together, switched_on
from carrara.models.machine import give_back_memory
from carrara.models.sources import digest_of_adapter
from carrara.progress import Progress, Silent
from carrara.recipe import Recipe, TuneRecipe
from carrara.scorecard.accuracy.heldout import Asked, judge
from carrara.tune.run import tune_model
from carrara.workspace import Draft, Workspace

FORMAT = 3  # raised when the same rows would give another curve
TUNE = TuneRecipe(rank=8)  # one epoch, as the recipe has it
_MOST, _FEWEST = 1000, 100  # training rows that a probe takes


@dataclass(frozen=True)
class Point:
    """What `rows` training rows brought, the first of one `order`; the records are of the same held-out rows."""

    rows: int
    order: int
    records: list[Record]


def steps_of(rows: int) -> list[tuple[int, int]]:
    """How many rows are learned in which order, of a dataset with so many: a tenth, three tenths, all of at most 1,000.

    The smaller ones are learned in two orders, which is cheap and shows how much chance there is in it. Raises Refusal
    for too few rows.
    """
    if rows < _FEWEST:
        raise Refusal(f"the dataset has {rows} training rows; a learning curve needs {_FEWEST} at least, so add some.")
    most = min(rows, _MOST)
    few, some = most // 10, most * 3 // 10
    return [(few, 0), (few, 1), (some, 0), (some, 1), (most, 0)]


def learn(
    workspace: Workspace,
    model: Model,
    dataset: Dataset,
    asked: Asked,
    steps: Sequence[tuple[int, int]],
    progress: Progress,
) -> list[Point]:
    """The model as it is, then after each step; the rows of a smaller step are among those of a larger in its order.

    What is trained is kept in `workspace`, so that a killed probe goes on. Raises Refusal as tuning does.
    """
    models = [model]
    with progress.track("learning curve", sum(rows for rows, _ in steps), "row") as advance:
        for rows, order in steps:
            part = _first_rows(workspace, dataset, rows, order)
            recipe = Recipe(tune=TUNE.model_copy(update={"seed": order}))
            run = tune_model(workspace, model, part, recipe, Silent()).artefact
            models.append(replace(model, adapter=run.path, adapter_digest=digest_of_adapter(run.path)))
            give_back_memory()
            advance(rows)
    points: list[Point] = []
    for (rows, order), adapted in zip([(0, 0), *steps], load_together(models), strict=True):
        with switched_on(adapted) as loaded:
            points.append(Point(rows, order, judge(loaded, asked, Silent())))
    return points


def _first_rows(workspace: Workspace, dataset: Dataset, count: int, order: int) -> Dataset:
    """The first training rows of an order, as a dataset without held-out rows."""

    def build(draft: Draft) -> None:
        rows = dataset.sample("train", count, order)
        text = "".join(json.dumps(example.to_json()) + "\n" for example in rows)
        (draft.path / "train.jsonl").write_text(text, encoding="utf-8")
        for split in ("validation", "test"):
            (draft.path / f"{split}.jsonl").touch()
        counts = {"read": len(rows), "kept": len(rows), "quarantined": 0}
        splits = {"train": len(rows), "validation": 0, "test": 0}
        draft.summary.update(rows=counts, dropped={}, splits=splits, render=dataset.render)

    made_by = {"part_of": dataset.artefact.digest, "rows": count, "order": order}
    return Dataset(workspace.make("dataset", made_by, build, name=f"{count} rows of {dataset.artefact.name}"))
