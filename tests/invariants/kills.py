"""kill -9 at random moments, in the middle of a save among them: does the resumed run end with the same bits?

`python -m tests.invariants.kills --count 50` prints a table and exits 1 if a single bit differs. Each trial is a run of
its own, killed once and then resumed to its end; processes are forked from one that has all libraries loaded.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Literal

from carrara.data.dataset import Dataset
from carrara.models import Model, resolve_model
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe, Recipe, TuneRecipe
from carrara.tune import state
from carrara.tune.run import tune_model
from carrara.workspace import Workspace, digest_of_file
from tests.tiny import prepared, write_pairs, write_tiny_model

Moment = Literal["anywhere", "in a save"]
_PRELOADED = ["torch", "transformers.models.llama.modeling_llama", "peft", "carrara.tune.run", "tests.tiny"]
_COMMON: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "dtype": "float32",
    "checkpoint_minutes": 0.0003,  # 18 ms: in the middle of batches as well
    "validate_every": 3,
    "patience": 3,
}
_METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "rank": 4, "dropout": 0.05},
    "full": {"method": "full", "learning_rate": 1e-3},
    "dora": {"method": "lora", "rank": 4, "dora": True},
    "pissa": {"method": "lora", "rank": 4, "pissa": True},
    "ia3": {"method": "ia3"},
    "prefix": {"method": "prefix", "virtual_tokens": 4},
    "prompt": {"method": "prompt", "virtual_tokens": 4},
}


@dataclass(frozen=True)
class Setting:
    """One kind of run: its name and the recipe's `tune`."""

    name: str
    tune: TuneRecipe


@dataclass
class Outcome:
    """What became of the trials of a setting."""

    kills: int = 0
    in_saves: int = 0  # a half-written checkpoint was left behind
    in_batches: int = 0  # the newest checkpoint was of a half-collected batch
    identical: int = 0
    different: list[str] = field(default_factory=list)


def settings() -> list[Setting]:
    """Every method, sorted and packed, each batch in one pass and in several."""
    found = []
    for name, method in _METHODS.items():
        for batching, tokens in (("sorted", 4096), ("packed", 192), ("sorted", 96)):
            keys = {**_COMMON, **method, "batching": batching, "micro_batch_tokens": tokens}
            tune = TuneRecipe.model_validate(keys)
            found.append(Setting(f"{name}, {batching}, {'one pass' if tokens == 4096 else 'several passes'}", tune))
    return found


def _prepare(folder: Path) -> None:
    """The body of a process: a tiny model and rows, taken into a workspace."""
    os.chdir(folder)
    write_tiny_model(folder / "model")
    write_pairs(folder / "pairs.jsonl", 40)
    _taken_in(folder)


def _taken_in(folder: Path) -> tuple[Workspace, Model, Dataset]:
    workspace = Workspace(folder / "workspace")
    recipe = PrepareRecipe(render="plain", test=0.1, validation=0.1)
    return workspace, resolve_model(workspace, "./model", Silent()), prepared(workspace, "pairs.jsonl", recipe)


def tune_tiny(root: str, tune: TuneRecipe) -> None:
    """The body of a process: the run of a setting in a workspace."""
    import torch

    torch.set_num_threads(1)
    state._DEAREST = 0  # save as often as asked for, whatever it costs
    os.chdir(root)
    os.dup2(os.open("stderr", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
    tune_model(*_taken_in(Path(root)), Recipe(tune=tune), Silent())


class Ground:
    """A folder with a tiny model and rows, from which each trial gets a copy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template"
        self._template.mkdir(parents=True)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._whole: dict[str, tuple[dict[str, str], float]] = {}
        writer = self._context.Process(target=_prepare, args=(self._template,))
        writer.start()
        writer.join()

    def whole(self, setting: Setting) -> tuple[dict[str, str], float]:
        """The weights of a run that nobody killed, and the seconds it took; made once for each setting."""
        if setting.name not in self._whole:
            root, started = self._new(), time.monotonic()
            self._finish(root, setting)
            self._whole[setting.name] = _weights(root), time.monotonic() - started
            shutil.rmtree(root)
        return self._whole[setting.name]

    def trial(self, setting: Setting, moment: Moment, chance: random.Random, outcome: Outcome) -> bool:
        """Kill a run at a moment, resume it to its end, and compare; False if it had ended before."""
        expected, seconds = self.whole(setting)
        root = self._new()
        process = self._start(root, setting)
        _wait_for(moment, root, process, chance, seconds)
        process.kill()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            shutil.rmtree(root)
            return False
        saves = sorted(path.name for path in root.glob("workspace/work/run/*/checkpoints/step-*"))
        outcome.kills += 1
        outcome.in_saves += any(root.glob("workspace/work/run/*/checkpoints/.step-*.part"))
        outcome.in_batches += bool(saves) and saves[-1].count("-") > 1
        self._finish(root, setting)
        if _weights(root) == expected:
            outcome.identical += 1
        else:
            outcome.different.append(f"{setting.name}, killed {moment}, newest {saves[-1] if saves else 'none'}")
        shutil.rmtree(root)
        return True

    def _new(self) -> Path:
        root = Path(tempfile.mkdtemp(dir=self._folder))
        shutil.copytree(self._template, root, dirs_exist_ok=True)
        return root

    def _start(self, root: Path, setting: Setting) -> ForkServerProcess:
        process = self._context.Process(target=tune_tiny, args=(str(root), setting.tune))
        process.start()
        return process

    def _finish(self, root: Path, setting: Setting) -> None:
        process = self._start(root, setting)
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{setting.name} ended with {process.exitcode}: {(root / 'stderr').read_text()[-2000:]}")


def _wait_for(moment: Moment, root: Path, process: ForkServerProcess, chance: random.Random, seconds: float) -> None:
    """Return at the moment to kill: anywhere in the run's life, or when some save has just begun."""
    if moment == "anywhere":
        process.join(chance.random() * seconds)
        return
    left, seen = chance.randint(1, 8), ""
    while process.is_alive():
        for path in root.glob("workspace/work/run/*/checkpoints/.step-*.part"):
            left, seen = left - (path.name != seen), path.name
            if not left:
                return
        time.sleep(0.0002)


def _weights(root: Path) -> dict[str, str]:
    """The digest of each file of weights that a finished run holds."""
    found = root.glob("workspace/artefacts/run/*/*.safetensors")
    return {path.name: digest_of_file(path) for path in found}


def run(
    folder: Path, count: int, chosen: Sequence[Setting], seed: int = 0, say: Callable[[str], None] = print
) -> dict[str, Outcome]:
    """`count` kills spread over settings, every second one in the middle of a save."""
    ground, chance = Ground(folder), random.Random(seed)
    outcomes = {setting.name: Outcome() for setting in chosen}
    for number in range(count):
        lap, place = divmod(number, len(chosen))
        moment: Moment = "in a save" if (lap + place) % 2 else "anywhere"
        while not ground.trial(chosen[place], moment, chance, outcomes[chosen[place].name]):
            pass
        say(f"{number + 1} of {count}: {chosen[place].name}, killed {moment}")
    return outcomes


def table(outcomes: Mapping[str, Outcome]) -> str:
    """The outcomes as Markdown, with a line of sums."""
    total = Outcome()
    lines = [
        "| method, batching | kills | a save left half | a batch left half | bit-identical |",
        "|---|---|---|---|---|",
    ]
    for name, each in [*outcomes.items(), ("all", total)]:
        lines.append(f"| {name} | {each.kills} | {each.in_saves} | {each.in_batches} | {each.identical} |")
        total.kills += each.kills
        total.in_saves += each.in_saves
        total.in_batches += each.in_batches
        total.identical += each.identical
    return "\n".join(lines)


def main() -> None:
    """Run the kills that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=50, help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="settings whose names begin so")
    given = parser.parse_args()
    chosen = [setting for setting in settings() if setting.name.startswith(given.only)]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder) / "ground", given.count, chosen, given.seed)
    sys.stdout.write(table(outcomes) + "\n")
    different = [line for outcome in outcomes.values() for line in outcome.different]
    sys.stdout.write("".join(f"different: {line}\n" for line in different))
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
