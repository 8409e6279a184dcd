"""Is there something to learn? Rows lost on the way, cut, empty, alike, or answered by their own prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress

from carrara.data.example import Example
from carrara.data.render.example import Rendered
from carrara.tune.truth.finding import Finding
from carrara.tune.truth.subject import Pair, Subject

_MANY = 0.1  # share of rows that is too many to lose without a word
_NEVER = frozenset({"nan", "#n/a", "<na>", "undefined"})  # written by programs alone, never meant
_MISSING = _NEVER | frozenset({"null", "none", "n/a", "na", "nil", "missing", "-", "--", "?", "...", "todo"})
_ENOUGH_TO_DIFFER = 8  # rows of which some should be answered in another way
_MOST = 0.8  # of the prompt; an answer may well be quoted from a longer one
_LONG_ANSWER = 24  # characters; a shorter one may well stand in its prompt, such as a label among those to choose from


def check_rows(subject: Subject) -> Iterator[Finding]:
    """Counts over all rows, and looks at the texts of some."""
    yield from _lost(subject)
    yield from _empty(subject)
    yield from _cut(subject)
    chosen = [pair for pair in subject.pairs if not pair.example.is_document]
    if len(chosen) >= _ENOUGH_TO_DIFFER:
        yield from _alike(subject, chosen)
        yield from _given_away(chosen)


def _lost(subject: Subject) -> Iterator[Finding]:
    summary = subject.dataset.artefact.summary
    read, bad, aside = summary["rows"]["read"], unusable(subject), set_aside(subject)
    if bad > _MANY * read:
        most = subject.dataset.checks["quarantine"][0]
        yield Finding(
            "quarantine",
            f"{bad:,} of {read:,} rows of {summary['source']} cannot be used and stand in the dataset's "
            f"quarantine.jsonl with the reason; most often, as in {most['file']}, row {most['row']}, "
            f"{most['field'] or 'it'} {most['reason']}. Mend them.",
        )
    wanted = summary["splits"]["train"]
    if aside > _MANY * wanted:
        yield Finding(
            "set-aside",
            f"{aside:,} of {wanted:,} training rows cannot be rendered for this model and were set aside; "
            "`carrara prepare` shows each reason.",
        )
    if not subject.rows:
        yield Finding("few-rows", "there is no row to learn from; look at what became of them in the dossier.")


def unusable(subject: Subject) -> int:
    """Rows of the source that are no example, such as those without an answer; what was dropped is none of them."""
    summary = subject.dataset.artefact.summary
    return summary["rows"]["quarantined"] - sum(summary["dropped"].values())


def set_aside(subject: Subject) -> int:
    """Rows of the training split that cannot be rendered for the model."""
    return subject.dataset.artefact.summary["splits"]["train"] - len(subject.rows)


def _empty(subject: Subject) -> Iterator[Finding]:
    """An answer of one token is its end alone; a row with no other was set aside when it was rendered."""
    rows = [row for row in subject.rows if row.supervised_count <= 1]
    if rows:
        yield Finding(
            "nothing-learned",
            f"{len(rows):,} of {len(subject.rows):,} rows have no answer to learn beyond an end, the first is "
            f"{rows[0].where}; fill in the completions or take these rows out.",
        )


def _cut(subject: Subject) -> Iterator[Finding]:
    rows = subject.rows
    cut = [row for row in rows if row.cut]
    if len(cut) > _MANY * len(rows):
        lost = sum(row.cut for row in cut)
        yield Finding(
            "cut",
            f"{len(cut):,} of {len(rows):,} rows are longer than the limit and lose {lost:,} tokens in all (row "
            f"{cut[0].row} loses {cut[0].cut:,} and keeps {len(cut[0].ids):,}); raise tune.max_length or shorten them.",
        )


def _alike(subject: Subject, pairs: list[Pair]) -> Iterator[Finding]:
    answers = Counter(pair.example.answer.strip() for pair in pairs)
    answer, count = answers.most_common(1)[0]
    if count == len(pairs) and len(_learned(subject.rows)) == 1:  # not merely rare
        yield Finding(
            "one-answer",
            f"all of the {len(subject.rows):,} rows have the same answer, {answer[:60]!r}; the model would "
            "learn to say it whatever it is asked. Check which field is the completion.",
        )
    words = _NEVER if _is_label_set(subject, pairs) else _MISSING
    missing = sum(number for text, number in answers.items() if text.casefold() in words)
    if missing > _MANY * len(pairs):
        word = next(text for text, _ in answers.most_common() if text.casefold() in words)
        yield Finding(
            "placeholder",
            f"{missing} of the {len(pairs)} answers looked at stand for a missing value, such as {word!r} in "
            f"{_where(pairs, word)}; fill them in or take these rows out.",
        )


def _is_label_set(subject: Subject, pairs: list[Pair]) -> bool:
    """Whether answers other than a missing value repeat, too, so that it may be one of a few labels."""
    missing = {_ids(pair.row) for pair in pairs if pair.example.answer.strip().casefold() in _MISSING}
    others = {ids: count for ids, count in _learned(subject.rows).items() if ids not in missing}
    return 0 < 2 * len(others) <= sum(others.values())


def _learned(rows: Sequence[Rendered]) -> Counter[tuple[int, ...]]:
    """How often each answer is learned, token for token, over all rows."""
    return Counter(map(_ids, rows))


def _ids(row: Rendered) -> tuple[int, ...]:
    return tuple(compress(row.ids, row.supervised))


def _given_away(pairs: list[Pair]) -> Iterator[Finding]:
    """Whether the model could copy nearly every answer from its prompt."""
    long = [pair for pair in pairs if len(pair.example.answer.strip()) >= _LONG_ANSWER]
    given = [pair for pair in long if _is_given(pair.example)]
    if len(long) >= _ENOUGH_TO_DIFFER and len(given) > 0.9 * len(long):
        yield Finding(
            "answer-in-prompt",
            f"{len(given)} of {len(long)} prompts are or end with their own answer (so {given[0].where}), and the "
            "model would learn to copy; check which field is the prompt.",
        )


def _is_given(example: Example) -> bool:
    asked = [message.text for index, message in enumerate(example.messages) if index not in example.supervised]
    prompt, answer = "\n".join(asked).strip(), example.answer.strip()
    return prompt.endswith(answer) or (answer in prompt and len(answer) >= _MOST * len(prompt))


def _where(pairs: list[Pair], answer: str) -> str:
    return next(pair.where for pair in pairs if pair.example.answer.strip() == answer)
