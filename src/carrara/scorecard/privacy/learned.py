"""The rows that a model was tuned on and rows like them that it never saw, as it and its base read them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from carrara.data.dataset import Dataset, Split
from carrara.data.example import Example
from carrara.data.render.example import Rendered, render_examples
from carrara.models.adapters import Adapted
from carrara.models.load import Loaded
from carrara.scorecard.privacy.reading import Read, read_rows

_SAMPLED = 1000  # rows of a split, among which those that are asked for are looked for
_ROWS, _LONG_ROWS = 100, 64  # at most, of either split for membership, of the train split for extraction
_LONGEST, _TOKENS = 512, 10_000  # of a row and of the rows of one kind, since model and base read each
_Pair = tuple[Example, Rendered]
LONG = 8  # tokens of an answer that is no coincidence when it is said word for word


@dataclass(frozen=True)
class Seen:
    """A row, how it is rendered, and what model and base make of it."""

    example: Example
    row: Rendered
    model: Read
    base: Read


@dataclass(frozen=True)
class Learned:
    """`members` are train rows and `others` test rows, both at random; `long` are train rows with long answers."""

    members: Sequence[Seen]
    others: Sequence[Seen]
    long: Sequence[Seen]


def answer_of(row: Rendered) -> slice:
    """Where the first answer of a row stands, without the token that ends it."""
    first = row.supervised.index(True)
    behind = row.supervised[first:]
    return slice(first, first + (behind.index(False) if False in behind else len(behind)) - 1)


def is_long(row: Rendered) -> bool:
    """Whether the first answer of a row has at least `LONG` tokens."""
    answer = answer_of(row)
    return answer.stop - answer.start >= LONG


def look_at(model: Adapted, base: Adapted, dataset: Dataset, seed: int) -> Learned:
    """Rows of the dataset, each different one once, as both read them."""
    train, test = (_rendered(model.loaded, dataset, split, seed) for split in ("train", "test"))
    long = [pair for pair in train if is_long(pair[1])]
    groups = [_first(rows, most) for rows, most in ((train, _ROWS), (test, _ROWS), (long, _LONG_ROWS))]
    wanted = {row.id: (example, row) for group in groups for example, row in group}
    rows = [row for _, row in wanted.values()]
    reads = zip(wanted.items(), read_rows(model, rows), read_rows(base, rows), strict=True)
    seen = {name: Seen(example, row, *both) for (name, (example, row)), *both in reads}
    return Learned(*([seen[row.id] for _, row in group] for group in groups))


def sampled(dataset: Dataset, split: Split, seed: int) -> list[Example]:
    """Different rows of a split in random order, a thousand at most."""
    rows = [*{example.id: example for example in dataset.sample(split, _SAMPLED, seed)}.values()]
    random.Random(seed).shuffle(rows)
    return rows


def _first(pairs: Sequence[_Pair], most: int) -> Sequence[_Pair]:
    """The first rows, so many at most and no more than can be read quickly."""
    fits = [tokens <= _TOKENS for tokens in accumulate(len(row.ids) for _, row in pairs[:most])]
    return pairs[: sum(fits)]


def _rendered(loaded: Loaded, dataset: Dataset, split: Split, seed: int) -> list[_Pair]:
    """The rows of a split that can be rendered, cut to what can be read quickly."""
    examples = sampled(dataset, split, seed)
    rows = render_examples(loaded.tokenizer, examples, dataset.render, min(loaded.context, _LONGEST))
    return [(example, row) for example, row in zip(examples, rows, strict=True) if isinstance(row, Rendered)]
