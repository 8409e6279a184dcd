"""The stage: rows become a dataset. Each row ends in a split or in quarantine, and every change is logged.

First each row by itself, in worker processes (`inspect.py`); then what needs all rows: duplicates, splits, leaks.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrara.data.checks.personal import detectors, display, load_plugins
from carrara.data.dataset import CHECKS, FATES, LEAKS, QUARANTINE, Dataset, existing_dataset
from carrara.data.prepare.account import collect_checks
from carrara.data.prepare.chunks import Job, cut_into_chunks, run_job
from carrara.data.prepare.duplication import find_duplication
from carrara.data.prepare.leaks import find_own_test, list_hits, refuse_leaks, write_questions
from carrara.data.prepare.outcome import Outcome, decide_fates, write_outcome
from carrara.data.prepare.quarantine import Quarantine
from carrara.data.prepare.rows import KeptRows
from carrara.data.prepare.split import assign_splits
from carrara.data.prepare.tally import Tally
from carrara.data.read import Source, open_source
from carrara.errors import Refusal
from carrara.progress import Masked, Progress
from carrara.recipe import PrepareRecipe, Recipe
from carrara.tasks import BENCHMARKS, WITHOUT_QUESTIONS, is_own
from carrara.tasks.questions import Against, benchmark_names, is_checkable, questions_of
from carrara.workspace import Draft, Workspace, write_atomically

FORMAT = 2  # raised when the same rows would give another dataset


def prepare_dataset(workspace: Workspace, recipe: Recipe, progress: Progress, show_values: bool = False) -> Dataset:
    """The dataset of the recipe's data, made once; a dataset's folder or reference is returned as it is.

    Raises Refusal if nothing is left to train on, if a benchmark that is named cannot be had, or if rows copy
    its questions and `prepare.contamination` is `refuse`. `show_values` leaves personal values in what is reported.
    """
    if recipe.data is None:
        raise Refusal("the recipe names no data; add a line such as 'data: pairs.jsonl'.")
    options = recipe.prepare
    if options.validation + options.test >= 1:
        raise Refusal("prepare.validation and prepare.test leave nothing to train on; their sum must be below 1.")
    if existing := existing_dataset(workspace, recipe.data):
        _require_same_options(existing, recipe, progress)
        return existing
    show = display(show_values)
    try:
        source = open_source(recipe.data, options.map, options.group, workspace, Masked(progress, show))
    except Refusal as refusal:
        raise Refusal(show(str(refusal))) from refusal
    against = questions_of(workspace, named_benchmarks(recipe), recipe.evaluate.benchmarks, progress)
    made_by = {
        "format": FORMAT,
        "source": source.digest(workspace),
        "prepare": options.model_dump(exclude={"against"}),
        "against": {each.name: each.sha256 for each in against},
        "detectors": detectors(load_plugins()),
        "show_values": show_values,
    }

    def build(draft: Draft) -> None:
        progress.say(f"preparing {source.name}")
        wanted = _Wanted(source, dict(made_by["source"]["files"]), options, against, show_values)
        _make(wanted, draft, progress)

    inputs = {"rows": source.fetched} if source.fetched else {}
    return Dataset(
        workspace.make("dataset", made_by, build, name=source.name, inputs=inputs, resumable=True, on_wait=progress.say)
    )


def named_benchmarks(recipe: Recipe) -> tuple[str, ...]:
    """The benchmarks that rows are checked against: those asked for, else those that the recipe says will judge."""
    if recipe.prepare.against is not None:
        return recipe.prepare.against
    judges = recipe.evaluate.tasks if "tasks" in recipe.evaluate.model_fields_set else ()
    others = (*BENCHMARKS, *WITHOUT_QUESTIONS)  # whose questions rows cannot be looked for; a name unknown is refused
    return tuple(name for name in judges if is_checkable(name) or not (is_own(name) or name in others))


def _require_same_options(dataset: Dataset, recipe: Recipe, progress: Progress) -> None:
    """Refuse options that a prepared dataset can no longer follow, and say what it was not checked against."""
    summary = dataset.artefact.summary
    made_with = summary.get("options", {})
    for key in sorted(recipe.prepare.model_fields_set - {"against", "contamination"}):
        if getattr(recipe.prepare, key) != made_with.get(key):
            raise Refusal(
                f"{recipe.data} was prepared with {key} {made_with.get(key)}, not {getattr(recipe.prepare, key)}; "
                "prepare the rows anew."
            )
    names = benchmark_names(named_benchmarks(recipe))
    kept = summary.get("contaminated_kept", {})
    if unchecked := [name for name in names if name not in kept]:
        progress.say(
            f"{recipe.data} was not checked against {', '.join(unchecked)}; prepare its rows anew with --against"
        )
    if leaking := [name for name in names if kept.get(name) and recipe.prepare.contamination == "refuse"]:
        raise Refusal(
            f"{recipe.data} holds {kept[leaking[0]]} rows with questions of {leaking[0]}, which is to judge the model; "
            "prepare the rows anew with contamination: drop, or say contamination: report to train all the same."
        )


@dataclass(frozen=True)
class _Wanted:
    """What a dataset is made of: the source with the digests of its files, and how."""

    source: Source
    digests: dict[str, str]
    options: PrepareRecipe
    against: Sequence[Against]
    show_values: bool


def _make(wanted: _Wanted, draft: Draft, progress: Progress) -> None:
    """Fill a dataset's folder; its subfolder `chunks` holds what a killed run goes on from."""
    chunks = draft.path / "chunks"
    shutil.rmtree(chunks.with_suffix(".done"), ignore_errors=True)
    quarantine = Quarantine(display(wanted.show_values), progress)
    tally = Tally()
    sizes: list[int] = []
    with progress.track("checking rows", 0, "row") as advance:
        for answer in run_job(_inspection(wanted, chunks), _chunked(wanted.source, quarantine, draft.path)):
            sizes.append(len(answer["labels"]))
            tally.add(answer)
            advance(sizes[-1])
    if not sizes:
        first = quarantine.first()
        why = quarantine.display(first.sentence) if first else f"{wanted.source.name} holds no row"
        raise Refusal(f"no row of {wanted.source.name} can be used; the first reason: {why}.")
    rows = KeptRows(chunks, sizes)
    try:
        _finish(wanted, draft, rows, tally, quarantine, progress)
    finally:
        rows.close()
    chunks.rename(chunks.with_suffix(".done"))  # a kill in the middle of removing them must not leave them by halves
    shutil.rmtree(chunks.with_suffix(".done"))


def _chunked(source: Source, quarantine: Quarantine, folder: Path) -> Iterator[list[Any]]:
    with (folder / QUARANTINE).open("w", encoding="utf-8") as file:
        yield from cut_into_chunks(quarantine.good_rows(source.rows(), file))


def _inspection(wanted: _Wanted, chunks: Path) -> Job:
    questions = [question for each in wanted.against for question in each.questions]
    settings = {
        "folder": str(chunks),
        "redact": wanted.options.personal_data == "redact",
        "show_values": wanted.show_values,
        "seed": wanted.options.seed,
        "questions": write_questions(chunks / "benchmarks.questions", questions) if questions else None,
    }
    return Job("inspect", settings, chunks)


def _finish(
    wanted: _Wanted, draft: Draft, rows: KeptRows, tally: Tally, quarantine: Quarantine, progress: Progress
) -> None:
    """Do what needs all rows, and write the dataset's files."""
    progress.say("looking for duplicates")
    found = find_duplication(rows, tally.groups)
    fates = decide_fates(rows, tally, found, wanted.options)
    labels = [label if fate is None else None for label, fate in zip(tally.classes(), fates, strict=True)]
    splits = assign_splits(found.sides, rows.identity, rows.place, labels, wanted.options)
    outcome = Outcome(rows, tally, found, splits, fates, wanted.options, quarantine.display)
    find_own_test(outcome, draft.path / "chunks", progress)
    refuse_leaks(outcome, wanted.against, draft.path.with_name(f"{draft.path.name}-{LEAKS}"))
    list_hits(outcome, wanted.against, draft.path / LEAKS)
    counts = write_outcome(outcome, draft.path)
    kept, read = sum(counts.values()), quarantine.read.total()
    if not counts["train"]:
        why = f"the {kept} that are kept are held out, being alike or of one group" if kept else "all were dropped"
        raise Refusal(f"{wanted.source.name} leaves no row for training ({why}); add rows or lower prepare.test.")
    dropped = Counter(fate.kind for fate in outcome.fates if fate)
    totals = {"read": read, "kept": kept, "quarantined": read - kept}
    parts = {"unusable": quarantine.bad, "dropped": {fate: dropped[fate] for fate in FATES}}
    changed = sum(outcome.is_kept(row) for row in outcome.changed)
    sources = [
        {**each, "rows": quarantine.read[each["file"]], "sha256": wanted.digests.get(each["file"], "")}
        for each in wanted.source.describe()
    ]
    checks = {
        "sources": sources,
        "rows": {**totals, **parts, "changed": changed},
        "splits": counts,
        "quarantine": quarantine.reasons(),
        **collect_checks(outcome, wanted.against),
    }
    checks["personal_data"]["values_shown"] = wanted.show_values
    write_atomically(draft.path / CHECKS, json.dumps(checks, ensure_ascii=False))
    draft.summary.update(
        rows=totals,
        dropped=parts["dropped"],
        splits=counts,
        source=wanted.source.name,
        render=wanted.options.render,
        options=wanted.options.model_dump(),
        duplicates={key: checks["duplicates"][key] for key in ("exact", "near", "conflicting")},
        personal_data={kind: each["values"] for kind, each in checks["personal_data"]["types"].items()},
        contaminated={each["name"]: each["rows"] for each in checks["contamination"]["benchmarks"]},
        contaminated_kept={each["name"]: each["kept"] for each in checks["contamination"]["benchmarks"]},
    )
