"""Rows that hold questions which are to judge the model: of benchmarks, and of the dataset's own test split."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from carrara.data.checks.contamination import words_of
from carrara.data.prepare.chunks import Job, run_job
from carrara.data.prepare.outcome import Fate, Outcome, add_line
from carrara.data.prepare.tally import OWN_TEST
from carrara.errors import Refusal
from carrara.progress import Progress
from carrara.tasks.questions import Against, Question
from carrara.workspace import write_atomically

_SHORT = 12  # words of a prompt; of longer ones the answer need not tell, and would only fill the memory


def write_questions(path: Path, questions: Sequence[Question]) -> str:
    """Write questions for workers to read; returns where they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps([asdict(question) for question in questions]))
    return str(path)


def find_own_test(outcome: Outcome, folder: Path, progress: Progress) -> None:
    """Find training and validation rows that hold a prompt of the test split, though they are no copies of its row.

    With `contamination: drop` they are dropped.
    """
    kept = [number for number in range(len(outcome.rows)) if outcome.is_kept(number)]
    test = [number for number in kept if outcome.splits[number] == "test"]
    others = [number for number in kept if outcome.splits[number] != "test"]
    questions = _questions(outcome, test)
    outcome.tally.own_test = {question.id: question.text for question in questions}
    if not questions or not others:
        return
    settings = {"folder": str(folder), "questions": write_questions(folder / "own-test.questions", questions)}
    job = Job("overlap", settings, folder / "overlap")
    with progress.track("checking against the test split", len(others), "row") as advance:
        chunks = list(outcome.rows.by_chunk(others))
        for index, answer in enumerate(run_job(job, chunks)):
            outcome.tally.add_hits(outcome.rows.start_of(index), answer["hits"])
            advance(len(chunks[index]))
    if outcome.options.contamination == "drop":
        for row, hits in outcome.tally.hits.items():
            if outcome.is_kept(row) and any(hit.benchmark == OWN_TEST for hit in hits):
                outcome.fates[row] = Fate("contaminated")


def list_hits(outcome: Outcome, against: Sequence[Against], path: Path) -> None:
    """Write every hit with both texts, one JSON object a line."""
    with path.open("w", encoding="utf-8") as file:
        for entry in hit_entries(outcome, against):
            add_line(file, entry)


def hit_entries(outcome: Outcome, against: Sequence[Against]) -> Iterator[dict[str, Any]]:
    """Every hit with both texts, row by row, as a dossier shows it."""
    texts = {(question.benchmark, question.id): question.text for each in against for question in each.questions}
    own = {(OWN_TEST, item): text for item, text in outcome.tally.own_test.items()}
    for row in sorted(outcome.tally.hits):
        for hit in outcome.tally.hits[row]:
            known = texts.get((hit.benchmark, hit.item))
            yield {
                "benchmark": hit.benchmark,
                "item": hit.item,
                "question": known if known is not None else outcome.display(own[hit.benchmark, hit.item]),
                **outcome.where(row),
                "split": outcome.splits[row],
                "text": outcome.display(outcome.rows.example(row).body),
                "how": hit.how,
                "share": hit.share,
                "action": "kept" if outcome.is_kept(row) else "dropped",
            }


def refuse_leaks(outcome: Outcome, against: Sequence[Against], listing: Path) -> None:
    """Raise Refusal if rows hold questions of benchmarks and that is to be refused; `listing` gets both texts."""
    rows = (hits for row, hits in outcome.tally.hits.items() if outcome.is_kept(row))
    hits = [hit for row in rows for hit in row if hit.benchmark != OWN_TEST]
    if not hits or outcome.options.contamination != "refuse":
        return
    list_hits(outcome, against, listing)
    first, names = outcome.where(hits[0].row), ", ".join(dict.fromkeys(hit.benchmark for hit in hits))
    raise Refusal(
        f"{len({hit.row for hit in hits})} rows hold questions of {names}, which is to judge the model (the first: "
        f"{first['file']}, row {first['row']} and item {hits[0].item}); {listing} lists them with both texts; run "
        "again with --contamination drop to leave them out, or report to keep them."
    )


def _questions(outcome: Outcome, test: Sequence[int]) -> list[Question]:
    """The prompts of test rows, equal ones once; none of documents, without words, or shared by many as a form."""
    questions: dict[int, Question] = {}
    for number in test:
        key = int(outcome.rows.prompt[number])
        if outcome.found.forms[number] or key in questions:
            continue
        example = outcome.rows.example(number)
        words = [] if example.is_document else words_of(example.context)
        if words:
            answers = (example.answer,) if len(words) < _SHORT else ()
            item = f"{example.file}, row {example.row}"
            questions[key] = Question(OWN_TEST, item, example.context, answers, 0 if answers else None)
    return list(questions.values())
