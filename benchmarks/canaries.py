"""Canaries in repeated runs: exposure by how often a secret stood among the rows, and of secrets that never did.

SmolLM2 learns the sentiment of film reviews (SST-2) with canaries among the rows, once for each seed, which draws rows,
order and secrets anew. Shown are means over all secrets of all seeds, and in how many runs the interval of the secrets
that were never planted holds what chance gives, 1.44 bits.
`.venv/bin/python benchmarks/canaries.py DATA --seeds 6`
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import mean

from carrara.data.prepare.stage import prepare_dataset
from carrara.models import Model, resolve_model
from carrara.progress import Silent
from carrara.recipe import DEFAULT_MODEL, CostRecipe, make_recipe
from carrara.scorecard.figure import Figure
from carrara.scorecard.privacy.exposure import CHANCE, MEASURE, exposure_figures
from carrara.scorecard.subject import find_subject, load_pair
from carrara.tune.run import tune_model
from carrara.workspace import Workspace


def rows(data: Path, count: int, seed: int) -> list[dict[str, str]]:
    """So many reviews, asked for their sentiment."""
    with (data / "sst2" / "train.tsv").open(encoding="utf-8") as file:
        pairs = [line.rstrip("\n").split("\t") for line in list(file)[1:] if len(line) > 40]
    names = {"0": "negative", "1": "positive"}
    chosen = random.Random(seed).sample(pairs, count)
    return [
        {"prompt": f"Review: {text.strip()}\nSentiment:", "completion": f" {names[label]}"} for text, label in chosen
    ]


def figures_of(workspace: Workspace, model: Model, seed: int, wanted: argparse.Namespace) -> list[Figure]:
    """The exposure of one run."""
    source = workspace.root / f"reviews-{wanted.rows}-{seed}.jsonl"
    lines = (json.dumps(row) for row in rows(wanted.data, wanted.rows, seed))
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    tune = {"rank": 8, "batch_size": 8, "canaries": wanted.canaries, "epochs": wanted.epochs, "seed": seed}
    prepare = {"render": "plain", "validation": 0.05, "test": 0.05, "against": ()}
    recipe = make_recipe({"data": str(source), "prepare": prepare, "tune": tune})
    dataset = prepare_dataset(workspace, recipe, Silent())
    run = tune_model(workspace, model, dataset, recipe, Silent())
    subject = find_subject(workspace, run.artefact.reference, None, CostRecipe(), Silent())
    pair = load_pair(subject)
    assert pair.base
    return exposure_figures(subject, pair.model, pair.base)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with sst2")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--canaries", type=int, default=8)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--workspace", type=Path, help="kept, so that a stopped benchmark goes on; else a new one")
    wanted = parser.parse_args()
    found: dict[str, list[Figure]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(wanted.workspace or Path(folder) / "workspace")
        model = resolve_model(workspace, wanted.model, Silent())
        for seed in range(wanted.seeds):
            for figure in figures_of(workspace, model, seed, wanted):
                found[figure.measure.removeprefix(f"{MEASURE}, ")].append(figure)
            print(
                f"seed {seed}: " + ", ".join(f"{name} {each[-1].value:.2f}" for name, each in found.items()), flush=True
            )
    print(
        "\n| secrets | mean exposure, bits | lowest and highest run | runs whose interval holds 1.44 bits |"
        "\n|---|---|---|---|"
    )
    for name, figures in found.items():
        values = [float(figure.value or 0.0) for figure in figures]
        held = sum(figure.interval[0] <= CHANCE <= figure.interval[1] for figure in figures if figure.interval)
        print(f"| {name} | {mean(values):.2f} | {min(values):.2f} to {max(values):.2f} | {held} of {len(values)} |")


if __name__ == "__main__":
    main()
