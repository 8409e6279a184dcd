"""What was decided about each row, and the files that say so: splits, quarantine, changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from carrara.data.dataset import CHANGES, QUARANTINE, SPLITS, Split
from carrara.data.prepare.duplication import Duplication
from carrara.data.prepare.rows import KeptRows
from carrara.data.prepare.tally import Tally
from carrara.recipe import PrepareRecipe

Display = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Fate:
    """Why a row is dropped: a key of `FATES`, and the row that it copies."""

    kind: str
    copies: int | None = None


@dataclass(frozen=True)
class Outcome:
    """All readable rows with what is known of them; `fates` says of each why it is dropped, if it is."""

    rows: KeptRows
    tally: Tally
    found: Duplication
    splits: Sequence[Split]
    fates: list[Fate | None]
    options: PrepareRecipe
    display: Display  # masks a text, unless values are to be shown

    @property
    def changed(self) -> Collection[int]:
        """The rows that personal data was taken out of."""
        return self.tally.personal.keys() if self.options.personal_data == "redact" else ()

    def is_kept(self, row: int) -> bool:
        return self.fates[row] is None

    def where(self, row: int) -> dict[str, Any]:
        """The place of a row in its source."""
        example = self.rows.example(row)
        return {"file": example.file, "row": example.row}


def decide_fates(rows: KeptRows, tally: Tally, found: Duplication, options: PrepareRecipe) -> list[Fate | None]:
    """For each row why it is dropped, or None; which split it would be in does not matter.

    Of several reasons the first of `FATES` counts. A copy is dropped only if the row that it copies is kept.
    """
    fates: list[Fate | None] = [None] * len(rows)
    if options.contamination == "drop":
        for row in tally.hits:
            fates[row] = Fate("contaminated")
    if options.personal_data == "drop":
        for row in tally.personal:
            fates[row] = Fate("personal_data")
    if options.drop_duplicates != "none":
        first: dict[int, int] = {}
        for row, key in enumerate(rows.exact.tolist()):
            if fates[row] is None and first.setdefault(key, row) != row:
                fates[row] = Fate("exact_duplicate", first[key])
    if options.drop_duplicates == "near":
        for pair in sorted(found.pairs, key=lambda pair: (pair.second, pair.first)):
            if fates[pair.first] is None and fates[pair.second] is None:
                fates[pair.second] = Fate("near_duplicate", pair.first)
    return fates


def write_outcome(outcome: Outcome, folder: Path) -> dict[Split, int]:
    """Write each row to its split or to quarantine, and what changed in those kept; returns the rows of each split."""
    counts = dict.fromkeys(SPLITS, 0)
    rows, changed = outcome.rows, outcome.changed
    files = {split: (folder / f"{split}.jsonl").open("wb") for split in SPLITS}
    try:
        with (
            (folder / QUARANTINE).open("a", encoding="utf-8") as quarantine,
            (folder / CHANGES).open("w", encoding="utf-8") as changes,
        ):
            for number, (split, fate) in enumerate(zip(outcome.splits, outcome.fates, strict=True)):
                if fate is not None:
                    reason = _reason(outcome, number, fate)
                    text = outcome.display(rows.example(number).body)
                    add_line(quarantine, {**outcome.where(number), "field": None, "reason": reason, "text": text})
                    continue
                counts[split] += 1
                files[split].write(rows.line(number))
                for field, kind, count in outcome.tally.personal[number] if number in changed else ():
                    reason = f"{count} of {kind} became placeholders"
                    add_line(changes, {**outcome.where(number), "field": field, "reason": reason})
    finally:
        for file in files.values():
            file.close()
    return counts


def add_line(file: TextIO, entry: Mapping[str, Any]) -> None:
    """Add an object as a line of JSON."""
    file.write(json.dumps(entry) + "\n")


def _reason(outcome: Outcome, number: int, fate: Fate) -> str:
    """Why a row is dropped, in words."""
    if fate.kind == "contaminated":
        hit = outcome.tally.hits[number][0]
        return f"holds a question of {hit.benchmark} (item {hit.item})"
    if fate.kind == "personal_data":
        return f"holds personal data: {', '.join(sorted({kind for _, kind, _ in outcome.tally.personal[number]}))}"
    first = outcome.where(fate.copies) if fate.copies is not None else {}
    return f"{'repeats' if fate.kind == 'exact_duplicate' else 'nearly repeats'} {first['file']}, row {first['row']}"
