"""How well a model answers rows that were held out: the loss of each, and the label it takes where few answer all."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from carrara.data.dataset import Dataset
from carrara.data.example import Example, Message
from carrara.data.render.example import Mode, Rendered, render_examples
from carrara.errors import Refusal
from carrara.evaluate.blocks import Scorable, cut_into_blocks, score_items
from carrara.evaluate.heldout import require_heldout
from carrara.evaluate.rows import row_of_text, rows_of_question
from carrara.evaluate.scorer import Scored, Scorer
from carrara.evaluate.scores import Record
from carrara.models.load import Loaded
from carrara.progress import Progress
from carrara.tasks import HELDOUT

MOST_ROWS = 200
_CHARACTERS = 500  # of a row, on average; of longer rows fewer are taken
_FEWEST_ROWS = 20
_MOST_LABELS = 20  # answers; where there are more, they are texts and no labels
_ROWS_A_LABEL = 5  # training rows that a label has on average, at least
_LOOKED_AT = 2000  # training rows that labels are looked for in


@dataclass(frozen=True)
class Asked:
    """Rows that a model is judged on; `labels` are the answers it chooses among, none where answers are free texts."""

    examples: Sequence[Example]
    render: Mode
    labels: tuple[str, ...]


def held_out_rows(dataset: Dataset | None, seed: int, most: int = MOST_ROWS) -> Asked:
    """Rows of the test split taken at random, fewer where they are long; raises Refusal if there are none."""
    dataset = require_heldout(dataset)
    examples = dataset.sample("test", most, seed)
    length = sum(len(example.body) for example in examples) / len(examples)
    fitting = max(_FEWEST_ROWS, int(most * _CHARACTERS / max(1.0, length)))
    if fitting < len(examples):
        examples = dataset.sample("test", fitting, seed)
    return Asked(examples, dataset.render, _labels(dataset, examples, seed))


def judge(loaded: Loaded, asked: Asked, progress: Progress) -> list[Record]:
    """The record of each row that the model can read, in order; raises Refusal if there is none.

    `value` is the loss of the row's answers in nats, its end among them, over `tokens`. Where there are labels, the
    likeliest is the `prediction`.
    """
    made = [scorable for example in asked.examples if (scorable := _scorable(loaded, asked, example))]
    if not made:
        raise Refusal("no row of the test split fits the model's context; hold out shorter rows.")
    wanted = [True] * len(made)
    return score_items(Scorer(loaded), HELDOUT, made.__getitem__, wanted, cut_into_blocks(range(len(made))), progress)


def _labels(dataset: Dataset, examples: Sequence[Example], seed: int) -> tuple[str, ...]:
    """The answers, where they are so few that they are labels."""
    learned = dataset.sample("train", _LOOKED_AT, seed)
    rows = (*learned, *examples)
    if any(len(row.supervised) != 1 or row.is_document or row.score is not None for row in rows):
        return ()
    found = sorted({row.answer for row in rows})
    few = min(_MOST_LABELS, len(rows) // _ROWS_A_LABEL)
    return tuple(found) if 2 <= len(found) <= few else ()


def _scorable(loaded: Loaded, asked: Asked, example: Example) -> Scorable | None:
    """A row with each of its possible answers; None for one that cannot be read."""
    texts = asked.labels or (example.answer,)
    asks = [_answered(example, label) for label in asked.labels] or [example]
    rendered = render_examples(loaded.tokenizer, asks, asked.render, loaded.context)
    rows = [row for row in rendered if isinstance(row, Rendered)]
    if len(rows) < len(asks):
        return None
    gold = texts.index(example.answer)

    def record(scored: Sequence[Scored]) -> Record:
        return _record(example, texts, gold, rows[gold], [ll for found in scored for ll in found.loglikelihoods])

    if asked.labels:
        return Scorable(rows_of_question([parted(row) for row in rows], loaded.context, loaded.window), record)
    return Scorable([row_of_text(rows[0].ids, rows[0].supervised)], record)


def _answered(example: Example, label: str) -> Example:
    """The row as if `label` were its answer."""
    place = example.supervised[0]
    messages = (*example.messages[:place], Message("assistant", label), *example.messages[place + 1 :])
    return replace(example, messages=messages)


def parted(row: Rendered) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids before a row's first answer, and those of the answer."""
    start = row.supervised.index(True)
    rest = row.supervised[start:]
    end = rest.index(False) if False in rest else len(rest)
    return row.ids[:start], row.ids[start : start + end]


def _record(example: Example, texts: Sequence[str], gold: int, row: Rendered, values: list[float]) -> Record:
    taken = max(range(len(values)), key=values.__getitem__)
    size = len(example.answer.encode("utf-8"))
    return Record(
        task=HELDOUT,
        item=example.row,
        id=example.id,
        question=example.context,
        choices=list(texts),
        prompt_sha256=hashlib.sha256(repr(row.ids).encode()).hexdigest(),
        loglikelihoods=values,
        prediction=taken,
        gold=gold,
        correct=taken == gold,
        value=-values[gold],
        gold_bits_per_byte=-values[gold] / math.log(2) / max(1, size),
        tokens=row.supervised_count,
        bytes=max(1, size),
        seconds=0.0,
        cluster=example.context,  # rows that ask the same share what makes them hard
        cut=row.cut > 0,
    )
