"""What moving on saves: the steps to the same held-out loss, from the base model and from a run on another task.

SmolLM2 first learns the sentiment of film reviews (SST-2). Then three tasks are learned twice each, from the base and
from that run: the same sentiment asked and answered in other words, how alike two sentences are (STS-B), and
following instructions (Alpaca). The target is the lowest held-out loss that the way from the base reaches.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from carrara.data.dataset import Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.models import Model, model_of_run, resolve_model
from carrara.progress import Silent
from carrara.recipe import DEFAULT_MODEL, PrepareRecipe, Recipe, TuneRecipe
from carrara.tune.run import Run, tune_model
from carrara.workspace import Workspace

Pair = tuple[str, str]
Curve = list[tuple[int, float]]  # (step, held-out loss)


# ---- the tasks ----


def sentiment(data: Path) -> Iterator[Pair]:
    for sentence, label in _reviews(data):
        yield f"Is this film review positive or negative?\n\n{sentence}", "positive" if label == "1" else "negative"


def other_words(data: Path) -> Iterator[Pair]:
    for sentence, label in _reviews(data):
        yield (
            f"A viewer wrote: “{sentence}” Did they like it?",
            "Yes, they did." if label == "1" else "No, they did not.",
        )


def similarity(data: Path) -> Iterator[Pair]:
    with (data / "stsb" / "stsb-en-train.csv").open(encoding="utf-8", newline="") as file:
        for one, other, score in csv.reader(file):
            yield f"From 0 to 5, how alike are these?\n\n1. {one}\n2. {other}", f"{float(score):.0f}"


def instructions(data: Path) -> Iterator[Pair]:
    with (data / "alpaca" / "alpaca_data_5k.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            if 0 < len(row["output"]) < 400:
                yield "\n\n".join(part for part in (row["instruction"], row["input"]) if part), row["output"]


def _reviews(data: Path) -> Iterator[list[str]]:
    with (data / "sst2" / "train.tsv").open(encoding="utf-8") as file:
        next(file)
        for line in file:
            sentence, label = line.rstrip("\n").split("\t")
            if len(sentence) > 40:
                yield [sentence.strip(), label]


TASKS: dict[str, Callable[[Path], Iterator[Pair]]] = {
    "sentiment, other words": other_words,
    "similarity": similarity,
    "generation": instructions,
}


# ---- the runs ----


@dataclass(frozen=True)
class Bench:
    """Where the runs are made, on how many rows and by which recipe."""

    workspace: Workspace
    data: Path
    rows: int
    held_out: int
    tune: TuneRecipe

    def dataset(self, pairs: Callable[[Path], Iterator[Pair]], seed: int) -> Dataset:
        """So many rows of a task, drawn by the seed, those held out among them."""
        chosen = random.Random(f"{pairs.__name__}/{seed}").sample(list(dict(pairs(self.data)).items()), self._all)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / f"{pairs.__name__}-{seed}.jsonl"
            lines = (json.dumps({"prompt": prompt, "completion": answer}) for prompt, answer in chosen)
            source.write_text("\n".join(lines) + "\n", encoding="utf-8")
            prepare = PrepareRecipe(validation=self.held_out / self._all, test=0.0, against=())
            return prepare_dataset(self.workspace, Recipe(data=str(source), prepare=prepare), Silent())

    @property
    def _all(self) -> int:
        return self.rows + self.held_out

    def run(self, model: Model, dataset: Dataset, seed: int) -> Run:
        tune = self.tune.model_copy(update={"seed": seed})
        return tune_model(self.workspace, model, dataset, Recipe(tune=tune), Silent())


def curve_of(run: Run) -> Curve:
    return [(int(point["step"]), point["validation_loss"]) for point in run.curve if "validation_loss" in point]


def first_below(curve: Curve, target: float) -> int | None:
    """The first step whose held-out loss is no higher than the target."""
    return next((step for step, loss in curve if loss <= target), None)


def compare(bench: Bench, base: Model, seeds: int) -> dict[str, list[tuple[Curve, Curve]]]:
    """For each task and seed the curve from the base and the curve from a run on sentiment."""
    found: dict[str, list[tuple[Curve, Curve]]] = {name: [] for name in TASKS}
    for seed in range(seeds):
        first = bench.run(base, bench.dataset(sentiment, seed), seed)
        print(f"seed {seed}: {first.artefact.reference} has learned sentiment, held-out {curve_of(first)[-1][1]:.3f}")
        moved = model_of_run(first.artefact, bench.workspace)
        for name, pairs in TASKS.items():
            dataset = bench.dataset(pairs, seed)
            runs = [bench.run(model, dataset, seed) for model in (base, moved)]
            found[name].append((curve_of(runs[0]), curve_of(runs[1])))
            print(f"seed {seed}: {name} done", flush=True)
    return found


# ---- the table ----


def show(found: dict[str, list[tuple[Curve, Curve]]]) -> None:
    print(
        "\n| task | target loss | steps from the base | steps from the run | steps saved | lowest loss, from the run |"
    )
    print("|---|---|---|---|---|---|")
    for name, pairs in found.items():
        targets = [min(loss for _, loss in base) for base, _ in pairs]
        before = [first_below(base, target) or 0 for (base, _), target in zip(pairs, targets, strict=True)]
        after = [first_below(moved, target) for (_, moved), target in zip(pairs, targets, strict=True)]
        saved = [1 - step / steps if step else None for step, steps in zip(after, before, strict=True)]
        lowest = [min(loss for _, loss in moved) for _, moved in pairs]
        print(
            f"| {name} | {_spread(targets, '.3f')} | {_spread(before, '.0f')} | {_spread(after, '.0f')} "
            f"| {_spread(saved, '.0%')} | {_spread(lowest, '.3f')} |"
        )


def _spread(values: list[float] | list[int] | list[float | None] | list[int | None], form: str) -> str:
    """The median and the range; a seed that never came so far counts as none."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return "never"
    text = f"{median(known):{form}}"
    text += f" ({known[0]:{form}} to {known[-1]:{form}})" if len(known) > 1 else ""
    return text + (f", {len(values) - len(known)} never" if len(known) < len(values) else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with sst2, stsb and alpaca")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--method", default="lora")
    parser.add_argument("--rows", type=int, default=256, help="rows to learn from, of each task")
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--every", type=int, default=2, help="steps between two measurements of the held-out loss")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workspace", type=Path, help="kept, so that a stopped benchmark goes on; else a new one")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(wanted.workspace or Path(folder))
        tune = TuneRecipe(
            method=wanted.method,
            batch_size=wanted.batch_size,
            schedule="constant",  # a schedule that ends would make the last steps alike whatever came before
            validate_every=wanted.every,
            keep="last",
        )
        bench = Bench(workspace, wanted.data, wanted.rows, wanted.held_out, tune)
        base = resolve_model(workspace, wanted.model, Silent())
        found = compare(bench, base, wanted.seeds)
    print(
        f"\n{wanted.model}, {wanted.method}, {wanted.rows} rows of each task, batches of {wanted.batch_size}; held-out "
        f"loss on {wanted.held_out} rows every {wanted.every} steps; medians and ranges of {wanted.seeds} seeds."
    )
    show(found)


if __name__ == "__main__":
    main()
