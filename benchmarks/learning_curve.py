"""Learning curves of the embedded model: what 100, 300 and 1,000 rows foretell of 3,000, beside what these brought.

    .venv/bin/python benchmarks/learning_curve.py DATA FOLDER [--orders 2] [--only sst2] [--table]
DATA is a folder of benchmark files with sst2, stsb and alpaca. FOLDER keeps what was trained, so that a run that was
stopped goes on, and `points.jsonl`; `--table` prints what there is of it and trains nothing. Rows are short, some 64
tokens at most; one epoch of LoRA of rank 8, as `carrara.scorecard.accuracy.probe` trains; 30, 100 and 300 rows foretell
1,000 in the same manner. Truth and forecast are of the same 200 held-out rows. The first interval is that of a card,
for whichever rows are held out; the second, stricter than it should be, takes these rows for all there are.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from carrara.data.dataset import Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.models import Model, resolve_model
from carrara.models.machine import prepare_for_heavy_work
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe, Recipe
from carrara.scorecard.accuracy.forecast import fit_curve
from carrara.scorecard.accuracy.heldout import held_out_rows
from carrara.scorecard.accuracy.probe import learn, steps_of
from carrara.workspace import Workspace

MOST, TRUTH = 1000, 3000  # rows
SMALL = ((30, 0), (30, 1))  # with which 30, 100 and 300 rows foretell 1,000 in the same manner
ROWS = 3750
PROMPT, ANSWER = 36, 10  # words at most


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--orders", type=int, default=2)
    parser.add_argument("--only", choices=ROWS_OF, help="one of the data sets")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    points = arguments.folder / "points.jsonl"
    if not arguments.table:
        names = [arguments.only] if arguments.only else [*ROWS_OF]
        _learn_all(arguments.data, arguments.folder, names, arguments.orders, points)
    _report(_read(points))


def _learn_all(data: Path, folder: Path, names: Sequence[str], orders: int, points: Path) -> None:
    """Train everything that has no points yet: the probes of all data sets first, then what they foretell."""
    prepare_for_heavy_work()
    workspace = Workspace(folder / "workspace")
    model = resolve_model(workspace, "smollm2-135m-instruct", Silent())
    datasets = {name: _prepared(workspace, folder, data, name) for name in names}
    done = {(row["data"], row["order"], row["rows"]) for row in _read(points)}
    for order in range(orders):
        for steps in ((*SMALL, *steps_of(MOST)), ((TRUTH, 0),)):
            for name, dataset in datasets.items():
                if (name, order, steps[-1][0]) not in done:
                    _learn(workspace, model, name, dataset, order, steps, points)


def _learn(
    workspace: Workspace,
    model: Model,
    name: str,
    dataset: Dataset,
    order: int,
    steps: Sequence[tuple[int, int]],
    points: Path,
) -> None:
    """Train the steps of a data set in one order and its second one; each point is a line of the file."""
    began = time.monotonic()
    asked = held_out_rows(dataset, seed=0)
    found = learn(workspace, model, dataset, asked, [(rows, 2 * order + which) for rows, which in steps], Silent())
    with points.open("a", encoding="utf-8") as file:
        for point in found:
            rows = [[r.value, r.tokens, r.correct if asked.labels else None] for r in point.records]
            told = {"data": name, "order": order, "rows": point.rows, "which": point.order, "held_out": rows}
            file.write(json.dumps(told) + "\n")
    took = time.monotonic() - began
    print(f"{time.strftime('%H:%M:%S')} {name}, order {order}: {took:.0f} s", file=sys.stderr, flush=True)


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open(encoding="utf-8")] if path.exists() else []


def _prepared(workspace: Workspace, folder: Path, data: Path, name: str) -> Dataset:
    path = folder / f"{name}.jsonl"
    rows = [row for row in ROWS_OF[name](data) if len(row["prompt"].split()) <= PROMPT]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:ROWS]), encoding="utf-8")
    options = PrepareRecipe(render="plain", validation=0, test=0.17)
    return prepare_dataset(workspace, Recipe(data=str(path), prepare=options), Silent())


def _sst2(data: Path) -> Iterator[dict[str, str]]:
    with (data / "sst2" / "train.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if len(row["sentence"].split()) > 5:  # most rows are phrases of a few words
                word = {"0": " negative", "1": " positive"}[row["label"]]
                yield {"prompt": f"Review: {row['sentence'].strip()}\nSentiment:", "completion": word}


def _stsb(data: Path) -> Iterator[dict[str, str]]:
    with (data / "stsb" / "stsb-en-train.csv").open(encoding="utf-8") as file:
        for first, second, score in csv.reader(file):
            prompt = f"A: {first}\nB: {second}\nLikeness from 0 to 5:"
            yield {"prompt": prompt, "completion": f" {round(float(score))}"}


def _alpaca(data: Path) -> Iterator[dict[str, str]]:
    for row in _read(data / "alpaca" / "alpaca_data_5k.jsonl"):
        prompt = f"{row['instruction']}\n{row['input']}".strip()
        if answer := " ".join(row["output"].split()[:ANSWER]):
            yield {"prompt": f"{prompt}\nAnswer:", "completion": f" {answer}"}


ROWS_OF = {"sst2": _sst2, "stsb": _stsb, "alpaca": _alpaca}


def _report(points: Sequence[dict[str, Any]]) -> None:
    """The table, and how many of its intervals cover what came."""
    names = [
        "data set",
        "order",
        "measure",
        "rows",
        "with the most",
        "of",
        "foretold",
        "95 % interval",
        "of these rows",
        "came",
    ]
    print(f"| {' | '.join(names)} | covered |\n|{'---|' * (len(names) + 1)}")
    found: list[_Outcome] = []
    for data, order in sorted({(point["data"], point["order"]) for point in points}):
        own: dict[tuple[int, int], Any] = {}
        for point in points:
            if (point["data"], point["order"]) == (data, order):
                which = point["which"] - 2 * order if point["rows"] else 0
                own[point["rows"], which] = np.array(point["held_out"], dtype=float)
        measures = ("loss", "accuracy") if np.isfinite(own[0, 0]).all() else ("loss",)
        for sizes, target in (((30, 100, 300), 1000), ((100, 300, 1000), TRUTH)):
            for measure in measures if (target, 0) in own else ():
                outcome = _outcome(own, sizes, target, measure)
                print(f"| {data} | {order} | {measure} | {', '.join(map(str, sizes))} | {outcome} |")
                found.append(outcome)
    if found:
        off, still = (sum(each) / len(found) for each in zip(*[outcome.errors for outcome in found], strict=True))
        wide, narrow = (sum(outcome.covered(strict) for outcome in found) for strict in (False, True))
        print(f"\nOf {len(found)}, {wide} are covered, {narrow} by the interval of these rows. What was foretold is")
        print(f"{off:.3f} off on average; what the most rows gave, taken for what more would, is {still:.3f} off.")


@dataclass(frozen=True)
class _Outcome:
    """What was foretold of `rows`, what came, and what a training on the most rows of the probe had given."""

    rows: int
    seen: float
    foretold: float
    interval: tuple[float, float]
    strict: tuple[float, float]  # of these held-out rows
    came: float

    def covered(self, strict: bool) -> bool:
        low, high = self.strict if strict else self.interval
        return low <= self.came <= high

    @property
    def errors(self) -> tuple[float, float]:
        return abs(self.foretold - self.came), abs(self.seen - self.came)

    def __str__(self) -> str:
        cells = [f"{self.seen:.3f}", str(self.rows), f"{self.foretold:.3f}"]
        cells += [f"{low:.3f} to {high:.3f}" for low, high in (self.interval, self.strict)]
        words = ["yes" if self.covered(strict) else "no" for strict in (False, True)]
        return " | ".join([*cells, f"{self.came:.3f}", words[0] if words[0] == words[1] else ", ".join(words)])


def _outcome(own: Mapping[tuple[int, int], Any], sizes: Sequence[int], target: int, measure: str) -> _Outcome:
    """A forecast from these sizes, as a probe makes it: two orders of all but the largest."""
    learned = [(rows, which) for rows in sizes for which in (0, 1) if rows < sizes[-1] or not which]
    column, limits = (0, (0.0, np.inf)) if measure == "loss" else (2, (0.0, 1.0))

    def parts(place: tuple[int, int]) -> tuple[Any, Any]:
        rows = own[place]
        return rows[:, column], rows[:, 1] if measure == "loss" else np.ones(len(rows))

    rows = [size for size, _ in learned]
    tops, bottoms = (np.array(each) for each in zip(*map(parts, learned), strict=True))
    foretold, interval = fit_curve(rows, tops, bottoms, limits, seed=0).at(target)
    whole = tops.sum(axis=1, keepdims=True), bottoms.sum(axis=1, keepdims=True)
    _, strict = fit_curve(rows, *whole, limits, seed=0).at(target)
    seen, came = (np.sum(top) / np.sum(bottom) for top, bottom in map(parts, ((sizes[-1], 0), (target, 0))))
    return _Outcome(target, float(seen), foretold, interval, strict, float(came))


if __name__ == "__main__":
    main()
