"""The stage: rows become a dataset. Each row ends in a split or in quarantine, and every change is logged.

First each row by itself, in worker processes (`inspect.py`); then what needs all rows: duplicates, splits, leaks.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from carrara.data.checks.contamination import words_of
from carrara.data.checks.personal import detectors, load_plugins, mask
from carrara.data.dataset import CHANGES, CHECKS, QUARANTINE, SPLITS, Dataset, Split, existing_dataset
from carrara.data.prepare.chunks import Job, cut_into_chunks, run_job
from carrara.data.prepare.duplication import Duplication, find_duplication
from carrara.data.prepare.rows import KeptRows
from carrara.data.prepare.split import assign_splits
from carrara.data.prepare.tally import OWN_TEST, Tally, collect_checks
from carrara.data.read import BadRow, Source, open_source
from carrara.errors import Refusal
from carrara.progress import Progress
from carrara.recipe import PrepareRecipe, Recipe
from carrara.tasks.questions import Against, Question, questions_of
from carrara.workspace import Draft, Workspace, write_atomically

FORMAT = 2  # raised when the same rows would give another dataset
_SHOWN = 5


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
    source = open_source(recipe.data, options.map, options.group, workspace, progress)
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
        digests = dict(made_by["source"]["files"])
        _Preparation(source, digests, options, against, draft.path, show_values, progress).make(draft)

    artefact = workspace.make("dataset", made_by, build, name=source.name, resumable=True, on_wait=progress.say)
    return Dataset(artefact)


def named_benchmarks(recipe: Recipe) -> tuple[str, ...]:
    """The benchmarks that rows are checked against: those asked for, else those that the recipe says will judge."""
    if recipe.prepare.against is not None:
        return recipe.prepare.against
    judges = recipe.evaluate.tasks if "tasks" in recipe.evaluate.model_fields_set else ()
    return tuple(name for name in judges if name != "heldout")


def _require_same_options(dataset: Dataset, recipe: Recipe, progress: Progress) -> None:
    """Refuse options that a prepared dataset can no longer follow, and say what it was not checked against."""
    made_with = dataset.artefact.summary.get("options", {})
    for key, value in recipe.prepare.model_dump(exclude={"against"}).items():
        if value not in (made_with.get(key), PrepareRecipe.model_fields[key].default):
            raise Refusal(
                f"{recipe.data} was prepared with {key} {made_with.get(key)}, not {value}; prepare the rows anew."
            )
    checked = dataset.artefact.summary.get("contaminated", {})
    if unchecked := [name for name in named_benchmarks(recipe) if name.removesuffix("_mc1").removesuffix("_mc2")
                     not in checked]:  # fmt: skip
        progress.say(
            f"{recipe.data} was not checked against {', '.join(unchecked)}; `carrara prepare` with --against does that"
        )


class _Preparation:
    """One dataset in the making; `folder` holds what a killed run can go on from."""

    def __init__(
        self,
        source: Source,
        digests: Mapping[str, str],
        options: PrepareRecipe,
        against: Sequence[Against],
        folder: Path,
        show_values: bool,
        progress: Progress,
    ) -> None:
        self.source, self.options, self.against = source, options, against
        self._digests = digests
        self.folder, self.show_values, self.progress = folder, show_values, progress
        self._chunks = folder / "chunks"
        self._read: Counter[str] = Counter()  # rows by file, bad ones included
        self._bad: list[BadRow] = []  # the first of each reason
        self._reasons: Counter[str] = Counter()

    def make(self, draft: Draft) -> None:
        tally = Tally()
        sizes: list[int] = []
        with self.progress.track("checking rows", 0, "row") as advance:
            for answer in run_job(self._inspection(), self._chunked()):
                sizes.append(len(answer["labels"]))
                tally.add(answer)
                advance(sizes[-1])
        if not sizes:
            raise Refusal(self._nothing_left())
        rows = KeptRows(self._chunks, sizes)
        try:
            self._finish(draft, rows, tally)
        finally:
            rows.close()
        shutil.rmtree(self._chunks)

    def _finish(self, draft: Draft, rows: KeptRows, tally: Tally) -> None:
        self.progress.say("looking for duplicates")
        found = find_duplication(rows, tally.groups)
        splits = assign_splits(found.sides, rows.identity, rows.place, tally.classes(), self.options)
        fates = self._fates(found, tally)
        self._find_own_test(rows, tally, splits, fates)
        self._refuse_contamination(rows, tally)
        counts = self._write(rows, tally, found, splits, fates)
        if not counts["train"]:
            raise Refusal(self._nothing_left(sum(counts.values())))
        dropped = Counter(fate for fate in fates if fate)
        redacted = sum(fates[row] is None for row in tally.personal) if self.options.personal_data == "redact" else 0
        read = sum(self._read.values())
        summary = {
            "rows": {
                "read": read,
                "kept": sum(counts.values()),
                "quarantined": read - sum(counts.values()),
            },
            "dropped": {kind: dropped[kind] for kind in _FATES},
            "splits": counts,
            "source": self.source.name,
            "render": self.options.render,
            "options": self.options.model_dump(),
        }
        checks = collect_checks(rows, tally, found, splits, fates, self.against, self.options, self._display)
        checks["personal_data"]["values_shown"] = self.show_values
        sources = [
            {**each, "rows": self._read[each["file"]], "sha256": self._digests.get(each["file"], "")}
            for each in self.source.describe()
        ]
        unusable = {"unusable": read - len(rows), "dropped": summary["dropped"], "changed": redacted}
        checks |= {
            "rows": summary["rows"] | unusable,
            "splits": counts,
            "sources": sources,
            "quarantine": self._quarantine(),
        }
        write_atomically(self.folder / CHECKS, json.dumps(checks, ensure_ascii=False))
        draft.summary.update(
            summary,
            duplicates={key: checks["duplicates"][key] for key in ("exact", "near", "conflicting")},
            personal_data={kind: each["values"] for kind, each in checks["personal_data"]["types"].items()},
            contaminated={each["name"]: each["rows"] for each in checks["contamination"]["benchmarks"]},
        )

    # ---- each row by itself ----

    def _inspection(self) -> Job:
        questions = None
        if self.against:
            self.folder.mkdir(parents=True, exist_ok=True)
            questions = self._write_questions("questions", [q for each in self.against for q in each.questions])
        settings = {
            "folder": str(self._chunks),
            "personal_data": self.options.personal_data,
            "show_values": self.show_values,
            "seed": self.options.seed,
            "questions": questions,
        }
        return Job("inspect", settings, self._chunks)

    def _write_questions(self, name: str, questions: Sequence[Question]) -> str:
        path = self._chunks / f"{name}.questions"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps([asdict(question) for question in questions]))
        return str(path)

    def _chunked(self) -> Iterator[list[Any]]:
        """Chunks of good rows; bad ones go to quarantine as they come."""

        def good() -> Iterator[dict[str, Any]]:
            for row in self.source.rows():
                self._read[row.file] += 1
                if isinstance(row, BadRow):
                    self._quarantine_bad(row, file)
                else:
                    yield row.to_json()

        with (self.folder / QUARANTINE).open("w", encoding="utf-8") as file:
            yield from cut_into_chunks(good())
        if len(self._reasons) > _SHOWN:
            self.progress.say(f"{self._reasons.total()} rows are in quarantine, for {len(self._reasons)} reasons")

    def _quarantine_bad(self, row: BadRow, file: Any) -> None:
        self._reasons[row.reason] += 1
        if self._reasons[row.reason] == 1:
            self._bad.append(row)
            if len(self._reasons) <= _SHOWN:
                self.progress.say(f"{row.sentence}; the row is in quarantine")
        _add_line(file, row.file, row.row, row.field, row.reason, self._display(row.text))

    def _quarantine(self) -> list[dict[str, Any]]:
        return [
            {"reason": bad.reason, "count": self._reasons[bad.reason], "file": bad.file, "row": bad.row,
             "field": bad.field}
            for bad in sorted(self._bad, key=lambda bad: -self._reasons[bad.reason])
        ]  # fmt: skip

    def _display(self, text: str) -> str:
        return text if self.show_values else mask(text)

    # ---- all rows together ----

    def _fates(self, found: Duplication, tally: Tally) -> list[str | None]:
        """For each row why it is dropped, or None; the first reason in the order of `_FATES` counts."""
        fates: list[str | None] = [None] * len(found.copies)
        if self.options.drop_duplicates == "near":
            _mark(fates, found.near, "near_duplicate")
        if self.options.drop_duplicates != "none":
            _mark(fates, found.exact, "exact_duplicate")
        if self.options.contamination == "drop":
            _mark(fates, sorted({hit.row for hit in tally.hits}), "contaminated")
        if self.options.personal_data == "drop":
            _mark(fates, sorted(tally.personal), "personal_data")
        return fates

    def _find_own_test(self, rows: KeptRows, tally: Tally, splits: Sequence[Split], fates: list[str | None]) -> None:
        """Training and validation rows that hold a question of the test split, though no near-copy of its row."""
        test = [n for n, split in enumerate(splits) if split == "test" and fates[n] is None]
        others = [n for n, split in enumerate(splits) if split != "test" and fates[n] is None]
        examples = [rows.example(number) for number in test]
        questions = [
            Question(OWN_TEST, str(number), example.context, (example.answer,), 0)
            for number, example in zip(test, examples, strict=True)
            if not example.is_document and words_of(example.context)
        ]
        tally.own_test = {question.id: question for question in questions}
        if not questions or not others:
            return
        settings = {"folder": str(self._chunks), "questions": self._write_questions("own-test", questions)}
        job = Job("overlap", settings, self._chunks / "overlap")
        with self.progress.track("checking against the test split", len(others), "row") as advance:
            chunks = list(rows.by_chunk(others))
            for index, answer in enumerate(run_job(job, chunks)):
                tally.add_hits(rows.start_of(index), answer["hits"])
                advance(len(chunks[index]))
        if self.options.contamination == "drop":
            _mark(fates, sorted({hit.row for hit in tally.hits if hit.benchmark == OWN_TEST}), "contaminated")

    def _refuse_contamination(self, rows: KeptRows, tally: Tally) -> None:
        hits = [hit for hit in tally.hits if hit.benchmark != OWN_TEST]
        if not hits or self.options.contamination != "refuse":
            return
        known = {(q.benchmark, q.id): q.text for each in self.against for q in each.questions}
        listing = self.folder.parent / f"{self.folder.name}-contamination.jsonl"
        with listing.open("w", encoding="utf-8") as file:
            for hit in hits:
                example = rows.example(hit.row)
                entry = {"benchmark": hit.benchmark, "item": hit.item, "how": hit.how, "share": hit.share,
                         "question": known[hit.benchmark, hit.item], "file": example.file, "row": example.row,
                         "text": self._display(f"{example.context}\n{example.answer}")}  # fmt: skip
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        first = rows.example(hits[0].row)
        names = ", ".join(dict.fromkeys(hit.benchmark for hit in hits))
        raise Refusal(
            f"{len({hit.row for hit in hits})} rows hold questions of {names}, which is to judge the model (the first: "
            f"{first.file}, row {first.row} and item {hits[0].item}); {listing} lists them with both texts; run again "
            "with --contamination drop to leave them out, or report to keep them."
        )

    def _write(
        self,
        rows: KeptRows,
        tally: Tally,
        found: Duplication,
        splits: Sequence[Split],
        fates: Sequence[str | None],
    ) -> dict[Split, int]:
        counts = dict.fromkeys(SPLITS, 0)
        files = {split: (self.folder / f"{split}.jsonl").open("wb") for split in SPLITS}
        changed = self.options.personal_data == "redact"
        try:
            with (
                (self.folder / QUARANTINE).open("a", encoding="utf-8") as quarantine,
                (self.folder / CHANGES).open("w", encoding="utf-8") as changes,
            ):
                for number, (split, fate) in enumerate(zip(splits, fates, strict=True)):
                    if fate is None:
                        counts[split] += 1
                        files[split].write(rows.line(number))
                    else:
                        row = rows.example(number)
                        text = self._display(f"{row.context}\n{row.answer}")
                        _add_line(quarantine, row.file, row.row, None, _reason(rows, tally, found, number, fate), text)
                    if changed and fate is None and number in tally.personal:
                        row = rows.example(number)
                        for field, kind, count in tally.personal[number]:
                            _add_line(changes, row.file, row.row, field, f"{count} of {kind} became placeholders", None)
        finally:
            for file in files.values():
                file.close()
        return counts

    def _nothing_left(self, kept: int = 0) -> str:
        name = self.source.name
        if kept:
            why = f"the {kept} that are kept are held out, being alike or of one group"
            return f"{name} leaves no row for training ({why}); add rows or lower prepare.test."
        first = self._bad[0].sentence if self._bad else f"{name} holds only blank lines"
        return f"no row of {name} can be used; the first reason: {first}."


_FATES = ("personal_data", "contaminated", "exact_duplicate", "near_duplicate")


def _reason(rows: KeptRows, tally: Tally, found: Duplication, number: int, fate: str) -> str:
    """Why a row is dropped, in words."""
    if fate == "contaminated":
        hit = next(hit for hit in tally.hits if hit.row == number)
        return f"holds a question of {hit.benchmark} (item {hit.item})"
    if fate == "personal_data":
        return f"holds personal data: {', '.join(sorted({kind for _, kind, _ in tally.personal[number]}))}"
    first = rows.example(int(found.copies[number]))
    return f"{'repeats' if fate == 'exact_duplicate' else 'nearly repeats'} {first.file}, row {first.row}"


def _mark(fates: list[str | None], rows: Sequence[int], fate: str) -> None:
    for row in rows:
        fates[row] = fate


def _add_line(file: Any, name: str, row: int, field: str | None, reason: str, text: str | None) -> None:
    value = {"file": name, "row": row, "field": field, "reason": reason} | ({} if text is None else {"text": text})
    file.write(json.dumps(value) + "\n")
