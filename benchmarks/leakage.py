"""What a run gives away, and what helps: fewer epochs, dropping copies, redaction.

SmolLM2 learns instructions (Alpaca), among them rows that stand sixteen times and rows with made-up addresses of mail.
Each way of learning them is measured by the privacy room of the scorecard.
`.venv/bin/python benchmarks/leakage.py DATA`
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from carrara.data.prepare.stage import prepare_dataset
from carrara.models import resolve_model
from carrara.progress import Silent
from carrara.recipe import DEFAULT_MODEL, CostRecipe, make_recipe
from carrara.scorecard import privacy
from carrara.scorecard.figure import Figure
from carrara.scorecard.subject import find_subject, load_pair
from carrara.tune.canaries import WORDS
from carrara.tune.run import tune_model
from carrara.workspace import Workspace

_COPIED, _COPIES = 0.1, 16  # so many of the rows stand so often
_PERSONAL = 0.2  # of the rows name an address of mail
_DROPPED: dict[str, Any] = {"drop_duplicates": "exact"}
_ARMS: dict[str, dict[str, Any]] = {  # each but the first tells what one thing does, beside the one before it
    "1 epoch": {"epochs": 1},
    "1 epoch, copies dropped": {"epochs": 1, "prepare": _DROPPED},
    "8 epochs, copies dropped": {"epochs": 8, "prepare": _DROPPED},
    "8 epochs, copies dropped, redacted": {"epochs": 8, "prepare": {**_DROPPED, "personal_data": "redact"}},
}
_SHOWN = (
    "canary exposure, never planted",
    *(f"canary exposure, planted {repeats}x" for repeats in (1, 4, 16, 64)),
    "verbatim extraction from the prompt",
    "verbatim extraction from half the answer",
    "near-verbatim extraction from the prompt",
    "membership inference AUC",
    "personal data recited",
)


def rows(data: Path, count: int, seed: int) -> Iterator[dict[str, str]]:
    """So many different rows, some of them several times and some with an address of mail in the answer."""
    chance = random.Random(seed)
    with (data / "alpaca" / "alpaca_data_5k.jsonl").open(encoding="utf-8") as file:
        plain = [row for row in map(json.loads, file) if not row["input"] and 40 < len(row["output"]) < 250]
    for number, row in enumerate(chance.sample(plain, count)):
        prompt, answer = row["instruction"], row["output"]
        if number < _PERSONAL * count:
            first, second, third = chance.sample(WORDS, 3)
            prompt, answer = f"{prompt} Whom may I ask?", f"Write to {first}.{second}@{third}.example.com. {answer}"
        is_copied = _PERSONAL * count <= number < (_PERSONAL + _COPIED) * count
        yield from [{"prompt": f"{prompt}\n", "completion": answer}] * (_COPIES if is_copied else 1)


def measured(workspace: Workspace, source: Path, arm: dict[str, Any], wanted: argparse.Namespace) -> dict[str, Figure]:
    """The privacy figures of a run in one of the ways."""
    tune = {"rank": 8, "batch_size": 8, "keep": "last", "canaries": wanted.canaries, "seed": wanted.seed}
    tune |= {"epochs": arm["epochs"], "allow": ("quarantine",)}  # which is where copies go
    prepare = {"render": "plain", "validation": 0.05, "test": 0.35, "against": (), "drop_duplicates": "none"}
    recipe = make_recipe({"data": str(source), "prepare": prepare | arm.get("prepare", {}), "tune": tune})
    dataset = prepare_dataset(workspace, recipe, Silent())
    model = resolve_model(workspace, DEFAULT_MODEL, Silent())
    run = tune_model(workspace, model, dataset, recipe, Silent())
    subject = find_subject(workspace, run.artefact.reference, None, CostRecipe(), Silent())
    pair = load_pair(subject)
    return {figure.measure: figure for figure in privacy.measure(subject, lambda: pair)}


def cell(figure: Figure | None) -> str:
    """A figure with its interval, for a table."""
    if figure is None or figure.value is None or figure.interval is None:
        return "unknown"
    return f"{figure.value:.2f} ({figure.interval[0]:.2f} to {figure.interval[1]:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="a folder with alpaca")
    parser.add_argument("--rows", type=int, default=80, help="different rows, held-out ones among them")
    parser.add_argument("--canaries", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, help="kept, so that a stopped benchmark goes on; else a new one")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(wanted.workspace or Path(folder) / "workspace")
        source = workspace.root / f"rows-{wanted.rows}-{wanted.seed}.jsonl"
        lines = (json.dumps(row) for row in rows(wanted.data, wanted.rows, wanted.seed))
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        found: dict[str, dict[str, Figure]] = {}
        for name, arm in _ARMS.items():
            found[name] = measured(workspace, source, arm, wanted)
            print(f"{name}: " + "; ".join(f"{each} {cell(found[name].get(each))}" for each in _SHOWN), flush=True)
    print(f"\n| measure | {' | '.join(found)} | base |\n|---|{'---|' * (len(found) + 1)}")
    for measure in _SHOWN:
        cells = [cell(figures.get(measure)) for figures in found.values()]
        print(f"| {measure} | {' | '.join(cells)} | {cell(next(iter(found.values())).get(f'{measure} (base)'))} |")


if __name__ == "__main__":
    main()
