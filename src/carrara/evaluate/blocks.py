"""Items on their way through the scorer: block by block, each of the same items whatever is wanted of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from carrara.errors import Refusal
from carrara.evaluate.rows import Row
from carrara.evaluate.scorer import Scored, Scorer
from carrara.evaluate.scores import Record
from carrara.progress import Progress

_BLOCK = 64  # items whose rows are cut into passes together; another number gives other passes and other numbers


@dataclass(frozen=True)
class Scorable:
    """The rows of one item, and how their scores become its record."""

    rows: Sequence[Row]
    record: Callable[[Sequence[Scored]], Record]


def cut_into_blocks(places: Sequence[int], size: int = _BLOCK) -> list[list[int]]:
    """Places, in order, as blocks of at most `size`."""
    return [[*places[start : start + size]] for start in range(0, len(places), size)]


def score_items(
    scorer: Scorer,
    name: str,
    make: Callable[[int], Scorable],
    wanted: Sequence[bool],
    blocks: Sequence[Sequence[int]],
    progress: Progress,
) -> list[Record]:
    """The records of the wanted items of a task, in order; `make` gives the item at a place of the whole task.

    `blocks` are all its places, those together whose rows may share a pass, whatever is wanted.

    Raises Refusal if a wanted item cannot be asked, or if the model's numbers are none.
    """
    records: dict[int, Record] = {}
    before = 0
    with progress.track(name, sum(wanted), "item") as advance:
        for block in blocks:
            chosen = [wanted[place] for place in block]
            if any(chosen):
                made = [_made(make, place, wanted[place]) for place in block]
                found, known = _score_block(scorer, made, chosen)
                records |= {block[number]: record for number, record in found.items()}
                before += known
                advance(len(found))
    if before:
        progress.say(f"{name}: {before:,} of {len(records):,} items had been scored before")
    if cut := sum(record.cut for record in records.values()):
        progress.say(f"{name}: {cut:,} items do not fit the model's context and lost the beginning of theirs")
    return [records[place] for place in sorted(records)]


def _made(make: Callable[[int], Scorable], place: int, is_wanted: bool) -> Scorable | None:
    """The item at a place; None for one that nobody wants and that could not be asked."""
    try:
        return make(place)
    except Refusal:
        if is_wanted:
            raise
        return None


def _score_block(
    scorer: Scorer, items: Sequence[Scorable | None], wanted: Sequence[bool]
) -> tuple[dict[int, Record], int]:
    """The records of the wanted items, by their number in the block, and how many of them had been scored before."""
    rows = [(row, number) for number, item in enumerate(items) if item for row in item.rows]
    scored = scorer.score([row for row, _ in rows], [wanted[number] for _, number in rows])
    records: dict[int, Record] = {}
    before = 0
    for number, item in enumerate(items):
        if item and wanted[number]:
            own = [found for (_, owner), found in zip(rows, scored, strict=True) if owner == number and found]
            records[number] = _finite(item.record(own))
            before += all(found.before for found in own)
    return records, before


def _finite(record: Record) -> Record:
    """The record; numbers that are none are refused, since comparing them would make the first choice right."""
    if not all(map(math.isfinite, record.loglikelihoods)):
        raise Refusal(
            f"{record.task}, item {record.item}: the model's log-likelihood is no number; its weights are damaged "
            "or overflow; evaluate with --dtype float32, or tune with a lower learning rate."
        )
    return record
