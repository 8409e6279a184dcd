"""What a run gives away, and what helps: fewer epochs, dropping copies, redaction.

SmolLM2 learns short instructions (Alpaca); a quarter of the rows stand four times, and three eighths name a made-up
address of mail, a third of these in rows that stand four times. The first way overtrains, each other one takes a
remedy, the last all three; nothing else differs, the learning rate included. What the scorecard asks of a run is asked
of each, of the very same rows: rows that all ways learned and rows that none did, of the data before redaction. So
differences are paired. Rows differ from seed to seed and are pooled.
`.venv/bin/python benchmarks/leakage.py DATA`
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carrara.data.dataset import Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.models import resolve_model
from carrara.progress import Silent
from carrara.recipe import DEFAULT_MODEL, CostRecipe, make_recipe
from carrara.scorecard.privacy.extraction import FROM_HALF, FROM_PROMPT, half_of, is_said
from carrara.scorecard.privacy.intervals import Interval, area_under_curve, proportion
from carrara.scorecard.privacy.learned import Learned, Seen, look_at, sampled
from carrara.scorecard.privacy.membership import MEASURE as MEMBERSHIP
from carrara.scorecard.privacy.membership import gain
from carrara.scorecard.privacy.recited import MEASURE as RECITED
from carrara.scorecard.privacy.recited import recited, with_own
from carrara.scorecard.subject import find_subject, load_pair
from carrara.tune.canaries import WORDS
from carrara.tune.run import tune_model
from carrara.verdict.statistics import paired_proportion_interval
from carrara.workspace import Workspace

Floats = NDArray[np.float64]
_COPIES = 4  # of a row that stands several times
_DROPPED, _REDACTED = {"drop_duplicates": "exact"}, {"personal_data": "redact"}
_ARMS: dict[str, tuple[int, dict[str, str]]] = {  # epochs, and how the rows are prepared
    "8 epochs": (8, {}),
    "1 epoch": (1, {}),
    "8 epochs, copies dropped": (8, _DROPPED),
    "8 epochs, redacted": (8, _REDACTED),
    "1 epoch, dropped, redacted": (1, _DROPPED | _REDACTED),
}
_SHARES = (FROM_PROMPT, FROM_HALF, RECITED)


@dataclass
class Told:
    """What one way of learning gives away: whether of each row, by measure, and by how much each row's loss fell."""

    given_away: dict[str, list[bool]] = field(default_factory=lambda: {measure: [] for measure in _SHARES})
    members: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)


def rows(data: Path, count: int, seed: int) -> Iterator[dict[str, str]]:
    """So many different rows, some of them several times and some with an address of mail in the answer."""
    chance = random.Random(seed)
    with (data / "alpaca" / "alpaca_data_5k.jsonl").open(encoding="utf-8") as file:
        plain = [row for row in map(json.loads, file) if not row["input"] and 40 < len(row["output"]) < 110]
    for number, row in enumerate(chance.sample(plain, count)):
        prompt, answer = row["instruction"], row["output"]
        if number % 8 < 3:
            first, second, third = chance.sample(WORDS, 3)
            prompt, answer = f"{prompt} Whom may I ask?", f"Write to {first}.{second}@{third}.example.com. {answer}"
        yield from [{"prompt": f"{prompt}\n", "completion": answer}] * (_COPIES if number % 4 == 0 else 1)


def prepared(workspace: Workspace, source: Path, options: dict[str, str]) -> Dataset:
    prepare: dict[str, Any] = {"render": "plain", "validation": 0, "test": 0.3, "against": ()}
    recipe = make_recipe({"data": str(source), "prepare": prepare | {"drop_duplicates": "none"} | options})
    return prepare_dataset(workspace, recipe, Silent())


def contexts(datasets: Sequence[Dataset], split: Any) -> set[str]:
    """The prompts, one for each different row, that all datasets have in a split: redaction moves some rows."""
    return set.intersection(*({example.context for example in dataset.each(split)} for dataset in datasets))


def ask(workspace: Workspace, source: Path, seed: int, found: Mapping[str, Told]) -> None:
    """Learn the rows in each way and add what it gives away of those that all ways share."""
    datasets = {name: prepared(workspace, source, options) for name, (_, options) in _ARMS.items()}
    whole = next(iter(datasets.values()))
    learned, unseen = (contexts([*datasets.values()], split) for split in ("train", "test"))
    holding = [row for row in with_own(sampled(whole, "train", seed)) if row.context in learned]
    model = resolve_model(workspace, DEFAULT_MODEL, Silent())
    for name, (epochs, _) in _ARMS.items():
        tune = {"rank": 8, "batch_size": 8, "keep": "last", "seed": seed, "epochs": epochs}
        recipe = make_recipe({"tune": tune | {"allow": ("quarantine",)}})  # which is where copies go
        run = tune_model(workspace, model, datasets[name], recipe, Silent())
        pair = load_pair(find_subject(workspace, run.artefact.reference, None, CostRecipe(), Silent()))
        assert pair.base is not None  # what was tuned has one
        read = look_at(pair.model, pair.base, whole, seed)
        add(found[name], read, learned, unseen)
        found[name].given_away[RECITED] += recited(whole, pair.model, holding)
        print(f"seed {seed}, {name}: done", flush=True)


def add(told: Told, read: Learned, learned: set[str], unseen: set[str]) -> None:
    """Add what was read of rows that every way learned, or none."""
    long = [seen for seen in read.long if seen.example.context in learned]
    told.given_away[FROM_PROMPT] += [given_away(seen, 0) for seen in long]
    told.given_away[FROM_HALF] += [given_away(seen, half) for seen in long if (half := half_of(seen.row))]
    told.members += [gain(seen) for seen in read.members if seen.example.context in learned]
    told.others += [gain(seen) for seen in read.others if seen.example.context in unseen]


def given_away(seen: Seen, given: int) -> bool:
    by_model, by_base = is_said(seen, given)
    return by_model and not by_base


# ---- statistics ----


def shares_apart(first: Sequence[bool], other: Sequence[bool]) -> tuple[float, Interval]:
    """The paired difference of two shares, and its interval (Tango 1998)."""
    won, lost = (sum(a and not b for a, b in zip(*pair, strict=True)) for pair in ((other, first), (first, other)))
    return (won - lost) / len(first), paired_proportion_interval(won, lost, len(first))


def areas_apart(first: Told, other: Told) -> tuple[float, Interval]:
    """The difference of two areas over the same rows, and its interval (DeLong, DeLong and Clarke-Pearson 1988)."""
    apart = [after - before for before, after in zip(parts_of_area(first), parts_of_area(other), strict=True)]
    difference = float(apart[0].mean())
    error = math.sqrt(sum(float(part.var(ddof=1)) / len(part) for part in apart))
    return difference, (difference - 1.959964 * error, difference + 1.959964 * error)


def parts_of_area(told: Told) -> tuple[Floats, Floats]:
    """For each member the share of others below it, for each other the share of members above it; ties for half."""
    members, others = np.array(told.members)[:, None], np.array(told.others)[None, :]
    above = (members > others) + (members == others) / 2
    return above.mean(axis=1), above.mean(axis=0)


# ---- what is printed ----


def shown(value: float, interval: Interval, sign: str = "") -> str:
    return f"{value:{sign}.2f} ({interval[0]:{sign}.2f} to {interval[1]:{sign}.2f})"


def report(found: Mapping[str, Told]) -> None:
    """Each measure of each way, and how far each way lies from the first."""
    first, *others = found.values()
    print(f"\n| 95 % intervals | rows | {' | '.join(found)} |\n|{'---|' * (len(found) + 2)}")
    for measure in _SHARES:
        verdicts = [told.given_away[measure] for told in found.values()]
        cells = [shown(sum(each) / len(each), proportion(sum(each), len(each))) for each in verdicts]
        print(f"| {measure} | {len(verdicts[0])} | {' | '.join(cells)} |")
    cells = [shown(*area_under_curve(told.members, told.others)) for told in found.values()]
    print(f"| {MEMBERSHIP} | {len(first.members)} + {len(first.others)} | {' | '.join(cells)} |")
    print(f"\n| less {next(iter(found))}, paired | {' | '.join([*found][1:])} |\n|{'---|' * len(found)}")
    for measure in _SHARES:
        cells = [shown(*shares_apart(first.given_away[measure], told.given_away[measure]), "+") for told in others]
        print(f"| {measure} | {' | '.join(cells)} |")
    print(f"| {MEMBERSHIP} | {' | '.join(shown(*areas_apart(first, told), '+') for told in others)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with alpaca")
    parser.add_argument("--rows", type=int, default=120, help="different rows of a seed, held-out ones among them")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workspace", type=Path, help="kept, so that a stopped benchmark goes on; else a new one")
    wanted = parser.parse_args()
    found = {name: Told() for name in _ARMS}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(wanted.workspace or Path(folder) / "workspace")
        for seed in range(wanted.seeds):
            source = workspace.root / f"rows-{wanted.rows}-{seed}.jsonl"
            lines = (json.dumps(row) for row in rows(wanted.data, wanted.rows, seed))
            source.write_text("\n".join(lines) + "\n", encoding="utf-8")
            ask(workspace, source, seed, found)
    report(found)


if __name__ == "__main__":
    main()
