"""The stage: a dataset, and a model where there is one, become the dossier that shows what the data is fit for."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from carrara.data.checks.personal import Plugin, display, find_personal_data, load_plugins
from carrara.data.dataset import SPLITS, Dataset, Split
from carrara.data.dossier import Dossier, write_dossier
from carrara.data.json_texts import map_texts
from carrara.data.prepare.chunks import Job, run_job
from carrara.data.render.dataset import shown_rows, usable_length
from carrara.data.render.plan import Lengths, plan_here
from carrara.data.render.tokens import (
    TokenStatistics,
    file_ranges,
    kept_lengths,
    statistics_from_json,
    tokens_for_dossier,
)
from carrara.models import Model
from carrara.models.load import context_of, load_tokenizer, tokenizer_folder
from carrara.models.plan import Plan
from carrara.models.shape import shape_of
from carrara.progress import Progress, Silent
from carrara.recipe import Recipe
from carrara.workspace import Artefact, Draft, Workspace

_TEXTS = ("labels", "quarantine", "duplicates", "personal_data", "contamination")  # parts that hold texts of rows
FORMAT = 1  # raised when the same inputs would give another dossier


@dataclass(frozen=True)
class Wanted:
    """What a dossier is to show besides the dataset's own checks; `unchecked` says why benchmarks were not checked."""

    recipe: Recipe
    unchecked: Mapping[str, str]
    shown: int = 3
    show_values: bool = False


def make_dossier(
    workspace: Workspace, dataset: Dataset, model: Model | None, wanted: Wanted, progress: Progress
) -> Artefact:
    """The dossier of a dataset, `dossier.html` and `dossier.json`; without a model nothing is said of tokens."""
    recipe = wanted.recipe
    made_by = {
        "format": FORMAT,
        "dataset": dataset.artefact.digest,
        "model": model.identity() if model else None,
        "tune": recipe.tune.model_dump(mode="json"),
        "cost": recipe.cost.model_dump(),
        "unchecked": dict(wanted.unchecked),
        "shown": wanted.shown,
        "show_values": wanted.show_values,
    }

    def build(draft: Draft) -> None:
        content = _content(dataset) | {"tokens": None, "estimate": None, "shown": []}
        if content["personal_data"]["values_shown"] and not wanted.show_values:
            content |= {part: map_texts(content[part], display(False)) for part in _TEXTS}
        content["personal_data"]["values_shown"] = wanted.show_values
        content["contamination"]["benchmarks"] += [_unchecked(name, why) for name, why in wanted.unchecked.items()]
        if model:
            content |= _measured(workspace, dataset, model, wanted, draft.path, progress)
        write_dossier(draft.path, cast(Dossier, content))
        draft.summary.update(dataset=dataset.artefact.reference, tokens=content["tokens"], estimate=content["estimate"])

    inputs = {"dataset": dataset.artefact} | ({"model": model.source} if model else {})
    return workspace.make(
        "dossier", made_by, build, name=dataset.artefact.name, inputs=inputs, resumable=True, on_wait=progress.say
    )


def _content(dataset: Dataset) -> dict[str, Any]:
    """The parts that the dataset itself knows."""
    checks = dataset.checks
    artefact = dataset.artefact
    about = {
        "name": artefact.name,
        "id": artefact.reference,
        "created": artefact.created,
        "sources": checks.pop("sources"),
        "options": artefact.summary["options"],
    }
    return {"dataset": about, **checks}


def _unchecked(name: str, why: str) -> dict[str, Any]:
    counts = {"questions": 0, "rows": 0, "kept": 0, "items": 0}
    return {"name": name, "source": "", "sha256": "", "state": "not checked", "why": why, **counts}


def _measured(
    workspace: Workspace, dataset: Dataset, model: Model, wanted: Wanted, folder: Path, progress: Progress
) -> dict[str, Any]:
    """What the model's tokenizer makes of the rows, what training would cost, and rows token by token."""
    context = context_of(model)
    longest = usable_length(wanted.recipe.tune.max_length, context)
    by_split = _count(dataset, model, longest, folder, progress)
    plan = _plan(workspace, model, by_split, longest, wanted)
    settled = wanted.recipe.tune.model_copy(update={"micro_batch_tokens": plan.micro_batch_tokens if plan else 1})
    tokens = tokens_for_dossier(by_split, model.name, context, longest, settled)
    if not wanted.show_values:
        tokens["set_aside"] = map_texts(tokens["set_aside"], display(False))
    return {
        "tokens": tokens,
        "estimate": plan and _estimate(plan),
        "shown": _shown(dataset, model, longest, wanted),
    }


def _plan(
    workspace: Workspace, model: Model, by_split: Mapping[Split, TokenStatistics], longest: int, wanted: Wanted
) -> Plan | None:
    """The plan of training, None if there is no row to train on."""
    train = by_split["train"]
    lengths = sorted(kept_lengths(train.lengths, longest).elements())
    if not lengths:
        return None
    rows = Lengths(lengths, sorted(kept_lengths(by_split["validation"].lengths, longest).elements()),
                   train.supervised / train.total)  # fmt: skip
    shape, parameters = shape_of(workspace, model.name, Silent())
    return plan_here(shape, parameters, wanted.recipe.tune, rows, wanted.recipe.cost)


def _estimate(plan: Plan) -> dict[str, Any]:
    """The plan as the dossier shows it."""
    return {
        "method": plan.method,
        "epochs": plan.epochs,
        "tokens": plan.tokens,
        "seconds": plan.seconds.likely,
        "low": plan.seconds.low,
        "high": plan.seconds.high,
        "memory": plan.memory.likely,
        "energy_wh": plan.energy_wh.likely,
        "money": plan.money.likely,
        "currency": plan.currency,
        "basis": plan.basis,
    }


def _count(
    dataset: Dataset, model: Model, longest: int, folder: Path, progress: Progress
) -> dict[Split, TokenStatistics]:
    settings = {"model": str(tokenizer_folder(model)), "mode": dataset.render, "max_length": longest}
    by_split: dict[Split, TokenStatistics] = {split: TokenStatistics() for split in SPLITS}
    ranges: list[tuple[Split, list[Any]]] = [
        (split, part) for split in SPLITS for part in file_ranges(dataset.artefact.path / f"{split}.jsonl")
    ]
    job = Job("tokens", settings, folder / "chunks")
    with progress.track("counting tokens", sum(end - start for _, (_, start, end) in ranges) >> 10, "KB") as advance:
        for (split, (_, start, end)), answer in zip(ranges, run_job(job, [part for _, part in ranges])):
            by_split[split] += statistics_from_json(answer)
            advance((end - start) >> 10)
    shutil.rmtree(job.folder, ignore_errors=True)
    return by_split


def _shown(dataset: Dataset, model: Model, longest: int, wanted: Wanted) -> list[dict[str, Any]]:
    if not wanted.shown:
        return []
    plugins = load_plugins()
    rows = shown_rows(dataset.each("train"), load_tokenizer(model), dataset.render, longest, wanted.shown)
    for row in rows:
        row["split"] = "train"
        if not wanted.show_values:
            row["spans"] = _masked(row["spans"], plugins)
    return rows


def _masked(spans: Sequence[Sequence[str]], plugins: Sequence[Plugin]) -> list[list[str]]:
    """Spans without personal values; a value that crosses a border is named where it begins."""
    masked: list[list[str]] = []
    found = iter(find_personal_data("".join(text for _, text in spans), plugins))
    value = next(found, None)
    place = 0  # in the row
    for kind, text in spans:
        end = place + len(text)
        parts: list[str] = []
        while value and value.start < end:
            if value.start >= place:
                parts.append(text[len(text) - (end - place) : len(text) - (end - value.start)])
                parts.append(f"<{value.type.upper()}>")
            place = min(end, value.end)
            if value.end > end:
                break
            value = next(found, None)
        masked.append([kind, "".join([*parts, text[len(text) - (end - place) :]])])
        place = end
    return masked
