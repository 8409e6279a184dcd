"""What a model's tokenizer makes of a dataset: how many tokens, how many learned, what is lost, padded and packed."""

from __future__ import annotations

import json
import random
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.data.dataset import SPLITS, Split
from carrara.data.example import Example, example_from_json
from carrara.data.histogram import lengths as describe_lengths
from carrara.data.render.batches import micro_batches, plan_epoch
from carrara.data.render.example import Mode, Rendered, RowRefusal, render_examples
from carrara.recipe import TuneRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_EXAMPLES = 10  # rows that lose tokens, named
_SAMPLE = 50_000  # rows from which the share of padding is told
_RANGE = 1 << 20  # bytes of a dataset's file that a worker counts at once


@dataclass(frozen=True)
class CutRow:
    """A row longer than the limit: its tokens, and how many of them are lost."""

    file: str
    row: int
    tokens: int
    lost: int


@dataclass(frozen=True)
class SetAside:
    """Rows that cannot be rendered for the same reason: how many, and the first."""

    count: int
    file: str
    row: int


@dataclass(frozen=True)
class TokenStatistics:
    """Tokens of some rows under one tokenizer; the statistics of parts add up to those of the whole.

    `lengths` counts rows by their tokens before any are lost; `total` and `supervised` are what remains. `cut` names
    the first rows that lose tokens; `documents` of the `truncated` rows are documents.
    """

    lengths: Counter[int] = field(default_factory=Counter)
    total: int = 0
    supervised: int = 0
    truncated: int = 0
    documents: int = 0
    lost: int = 0
    cut: tuple[CutRow, ...] = ()
    set_aside: Mapping[str, SetAside] = field(default_factory=dict)

    def __add__(self, other: TokenStatistics) -> TokenStatistics:
        return TokenStatistics(
            self.lengths + other.lengths,
            self.total + other.total,
            self.supervised + other.supervised,
            self.truncated + other.truncated,
            self.documents + other.documents,
            self.lost + other.lost,
            (self.cut + other.cut)[:_EXAMPLES],
            _joined(self.set_aside, other.set_aside),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            **vars(self),
            "lengths": sorted(self.lengths.items()),
            "cut": [vars(row) for row in self.cut],
            "set_aside": {reason: vars(rows) for reason, rows in self.set_aside.items()},
        }


def statistics_from_json(value: Mapping[str, Any]) -> TokenStatistics:
    """The inverse of `TokenStatistics.to_json`."""
    parts: dict[str, Any] = {
        **value,
        "lengths": Counter(dict(value["lengths"])),
        "cut": tuple(CutRow(**row) for row in value["cut"]),
        "set_aside": {reason: SetAside(**rows) for reason, rows in value["set_aside"].items()},
    }
    return TokenStatistics(**parts)


def measure_chunk(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, mode: Mode, max_length: int
) -> TokenStatistics:
    """The statistics of some rows, rendered together: about a thousand at a time are quick and small."""
    rendered = render_examples(tokenizer, examples, mode, max_length)
    kept = [(example, row) for example, row in zip(examples, rendered, strict=True) if isinstance(row, Rendered)]
    refused = [(example, row) for example, row in zip(examples, rendered, strict=True) if isinstance(row, RowRefusal)]
    cut = [(example, row) for example, row in kept if row.cut]
    set_aside: dict[str, SetAside] = {}
    for example, refusal in refused:
        set_aside = _joined(set_aside, {refusal.reason: SetAside(1, example.file, example.row)})
    return TokenStatistics(
        lengths=Counter(len(row.ids) + row.cut for _, row in kept),
        total=sum(len(row.ids) for _, row in kept),
        supervised=sum(row.supervised_count for _, row in kept),
        truncated=len(cut),
        documents=sum(example.is_document for example, _ in cut),
        lost=sum(row.cut for _, row in cut),
        cut=tuple(CutRow(e.file, e.row, len(row.ids) + row.cut, row.cut) for e, row in cut[:_EXAMPLES]),
        set_aside=set_aside,
    )


class TokenCounter:
    """The job of a worker: `model` is the folder that holds the tokenizer, with `mode` and `max_length`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from carrara.models.load import tokenizer_in
        from carrara.models.machine import prepare_for_heavy_work

        prepare_for_heavy_work()
        self._tokenizer = tokenizer_in(Path(settings["model"]))
        self._mode: Mode = settings["mode"]
        self._max_length: int = settings["max_length"]

    def __call__(self, index: int, chunk: Any) -> dict[str, Any]:
        """The statistics of the rows in a part of a dataset's file: [path, first byte, end]."""
        del index
        path, start, end = chunk
        with Path(path).open("rb") as file:
            file.seek(start)
            lines = file.read(end - start).split(b"\n")
        examples = [example_from_json(json.loads(line)) for line in lines if line]
        return measure_chunk(examples, self._tokenizer, self._mode, self._max_length).to_json()


def file_ranges(path: Path) -> Iterator[list[Any]]:
    """A file of lines in parts of about a megabyte for `TokenCounter`: [path, first byte, end], cut between lines."""
    with path.open("rb") as file:
        start = 0
        while True:
            file.seek(start + _RANGE)
            file.readline()
            end = min(file.tell(), path.stat().st_size)
            if end == start:
                return
            yield [str(path), start, end]
            start = end


def tokens_for_dossier(
    by_split: Mapping[Split, TokenStatistics], model: str, context: int, max_length: int, tune: TuneRecipe
) -> dict[str, Any]:
    """The dossier's `tokens`, over all splits; padding and packing as the rows of the train split would have them."""
    everything = sum((by_split[split] for split in SPLITS if split in by_split), TokenStatistics())
    train = kept_lengths(by_split.get("train", TokenStatistics()).lengths, max_length)
    useful, windows = packing_share(train, max_length)
    return {
        "model": model,
        "context": context,
        "total": everything.total,
        "supervised": everything.supervised,
        **describe_lengths(everything.lengths),
        "truncated": {
            "rows": everything.truncated,
            "tokens_lost": everything.lost,
            "examples": [vars(row) for row in everything.cut],
        },
        "part_lost": _part_lost(everything),
        "set_aside": {
            "rows": sum(rows.count for rows in everything.set_aside.values()),
            "reasons": [
                {"reason": reason, **vars(rows)}
                for reason, rows in sorted(everything.set_aside.items(), key=lambda item: -item[1].count)
            ],
        },
        "padding": {"share_useful": padding_share(train, tune.batch_size, int(tune.micro_batch_tokens), tune.seed)},
        "packing": {"window": max_length, "share_useful": useful, "windows": windows},
    }


def padding_share(lengths: Counter[int], batch_size: int, micro_batch_tokens: int, seed: int) -> float:
    """Useful tokens over padded tokens in the first epoch's passes; of many rows, told from an even sample."""
    rows = sorted(lengths.elements())
    rows = rows[:: -(-len(rows) // _SAMPLE) or 1]
    random.Random(seed).shuffle(rows)
    padded = sum(
        len(part) * max(rows[row] for row in part)
        for batch in plan_epoch(rows, batch_size, seed, 0)
        for part in micro_batches(batch, rows, micro_batch_tokens)
    )
    return sum(rows) / padded if padded else 0.0


def packing_share(lengths: Counter[int], window: int) -> tuple[float, int]:
    """Useful tokens over all places if rows were packed into windows, and the windows needed.

    Best-fit-decreasing: the longest row first, each into the fullest window that holds it (Johnson 1974). Rows of one
    length are placed together, which gives the same windows.
    """
    free: Counter[int] = Counter()  # windows by the places left in them
    rooms: list[int] = []  # the keys of `free`, ascending
    windows = 0
    for length in sorted(lengths, reverse=True):
        count = lengths[length]
        while count:
            place = bisect_left(rooms, length)
            if place == len(rooms):
                each = window // length
                number = -(-count // each)
                windows += number
                _put(free, rooms, window, number)
            room = rooms[place]
            # the fullest window stays the fullest while it takes one row after another
            each = min(room // length, count)
            number = min(free[room], count // each)
            free[room] -= number
            if not free[room]:
                del free[room], rooms[place]
            _put(free, rooms, room - each * length, number)
            count -= each * number
    return (sum(length * count for length, count in lengths.items()) / (windows * window) if windows else 0.0), windows


def _put(free: Counter[int], rooms: list[int], room: int, number: int) -> None:
    if room not in free:
        insort(rooms, room)
    free[room] += number


def kept_lengths(lengths: Counter[int], max_length: int) -> Counter[int]:
    """Rows by the tokens that a limit leaves them."""
    kept: Counter[int] = Counter()
    for length, count in lengths.items():
        kept[min(length, max_length)] += count
    return kept


def _joined(first: Mapping[str, SetAside], second: Mapping[str, SetAside]) -> dict[str, SetAside]:
    joined = dict(first)
    for reason, rows in second.items():
        known = joined.get(reason)
        joined[reason] = SetAside(known.count + rows.count, known.file, known.row) if known else rows
    return joined


def _part_lost(statistics: TokenStatistics) -> str:
    if not statistics.documents:
        return "the beginning of the context"
    if statistics.documents == statistics.truncated:
        return "the end of the text"
    return "the beginning of the context, or of a document its end"
