"""The stage: a model, a dataset and a recipe become a run, kept with all that explains it."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrara.data.dataset import Dataset
from carrara.data.render.dataset import count_tokens, render_usable, usable_length
from carrara.data.render.example import Rendered
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import load_model
from carrara.models.machine import choose_device, choose_dtype, prepare_for_heavy_work
from carrara.progress import Progress, Silent
from carrara.recipe import Recipe
from carrara.tune.distributed import World, join_world
from carrara.tune.ledger import EnergyMeter, Ledger, ledger_from_json, peak_memory_mb
from carrara.tune.loop import History, Training, train
from carrara.tune.methods import attach, save, trainable
from carrara.tune.optimizer import Optimizer
from carrara.workspace import Artefact, Draft, Workspace, artefact_id

FORMAT = 3  # raised when the same recipe would give another result
_CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Run:
    """A finished fine-tune; its folder is a PEFT adapter or a Hugging Face model."""

    artefact: Artefact

    @property
    def ledger(self) -> Ledger:
        return ledger_from_json(json.loads((self.artefact.path / "ledger.json").read_text(encoding="utf-8")))

    @property
    def curve(self) -> list[dict[str, float]]:
        return json.loads((self.artefact.path / "curve.json").read_text(encoding="utf-8"))


def tune_model(
    workspace: Workspace, model: Model, dataset: Dataset, recipe: Recipe, progress: Progress, fresh: bool = False
) -> Run:
    """The run that model, dataset and recipe determine: found, gone on with, or made.

    `fresh` forgets an unfinished run's checkpoints. Raises Refusal for what cannot be trained.
    """
    if model.adapter:
        raise Refusal(f"{model.name} is an adapter; tune its base model, or a run of method full.")
    prepare_for_heavy_work()
    world = join_world()
    device = choose_device()
    precision = str(choose_dtype(recipe.tune.dtype)).removeprefix("torch.")
    made_by = {
        "format": FORMAT,
        **model.identity(),
        "dataset": dataset.artefact.digest,
        "render": dataset.render,
        "tune": _determining(recipe),
        "dtype": precision,
        "device": device.type,
    }
    name = f"{model.source.name}-{recipe.tune.method}"
    identity = artefact_id("run", made_by)
    recipe = recipe.model_copy(update={"tune": recipe.tune.model_copy(update={"dtype": precision})})

    if not world.leads:  # takes part in each step; the leading process writes
        if workspace.find("run", identity) is None:
            _train(model, dataset, recipe, world, workspace.work_folder("run", identity), Silent())
        return Run(workspace.wait_for("run", identity))

    def build(draft: Draft) -> None:
        if fresh:  # here, where the lock is held: another process may be at work on the same run
            shutil.rmtree(draft.path / _CHECKPOINTS, ignore_errors=True)
        _build(draft, model, dataset, recipe, world, progress)

    inputs = {"model": model.source, "dataset": dataset.artefact}
    artefact = workspace.make("run", made_by, build, name=name, inputs=inputs, resumable=True, on_wait=progress.say)
    return Run(artefact)


def _determining(recipe: Recipe) -> dict[str, Any]:
    """The keys of the recipe that change the result."""
    keys = recipe.tune.model_dump(exclude={"dtype", "micro_batch_tokens", "checkpoint_minutes"})
    return {**keys, "learning_rate": recipe.tune.effective_learning_rate, "alpha": recipe.tune.effective_alpha}


def _build(draft: Draft, model: Model, dataset: Dataset, recipe: Recipe, world: World, progress: Progress) -> None:
    training, history = _train(model, dataset, recipe, world, draft.path, progress)
    training.optimizer.write_masters_into_network()
    for path in draft.path.iterdir():
        if path.name != _CHECKPOINTS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    save(training.network, recipe.tune, model.path, draft.path)
    ledger = Ledger(
        history.tokens,
        history.supervised_tokens,
        history.seconds,
        peak_memory_mb(),
        history.energy_wh,
        training.meter.kind,
    )
    _write(draft.path / "ledger.json", ledger.to_json())
    _write(draft.path / "curve.json", history.curve)
    _write(draft.path / "recipe.json", recipe.model_dump(mode="json"))
    shutil.rmtree(draft.path / _CHECKPOINTS, ignore_errors=True)
    draft.summary.update(
        method=recipe.tune.method,
        model=model.name,
        steps=training.steps,
        loss={"first": history.curve[0]["loss"], "last": history.curve[-1]["loss"]},
        trainable=sum(parameter.numel() for parameter in training.optimizer.parameters.values()),
    )


def _train(
    model: Model, dataset: Dataset, recipe: Recipe, world: World, folder: Path, progress: Progress
) -> tuple[Training, History]:
    import torch

    world.any(False)  # all wait here until the leading process has its folder in order
    # Full tuning starts from the weights as they are stored; the optimizer makes the bfloat16 copy.
    loaded = load_model(model, "float32" if recipe.tune.method == "full" else recipe.tune.dtype)
    longest = usable_length(recipe.tune.max_length, loaded.context)
    rows = render_usable(dataset, "train", loaded.tokenizer, longest, progress)
    validation = render_usable(dataset, "validation", loaded.tokenizer, longest, progress)
    _announce(rows, recipe, progress)
    torch.manual_seed(recipe.tune.seed)
    network = attach(loaded, recipe.tune)
    optimizer = Optimizer(trainable(network), choose_dtype(recipe.tune.dtype), recipe.tune)
    training = Training(
        network=network,
        optimizer=optimizer,
        rows=rows,
        validation=validation,
        recipe=recipe.tune,
        device=loaded.device,
        world=world,
        checkpoints=folder / _CHECKPOINTS,
        meter=EnergyMeter(recipe.cost),
    )
    return training, train(training, progress)


def _announce(rows: list[Rendered], recipe: Recipe, progress: Progress) -> None:
    counts = count_tokens(rows)
    cut = f", {counts.truncated_rows} rows cut to fit" if counts.truncated_rows else ""
    progress.say(
        f"{len(rows)} rows, {counts.total:,} tokens, {counts.supervised:,} of them learned "
        f"({counts.supervised / counts.total:.0%}){cut}; method {recipe.tune.method}, "
        f"learning rate {recipe.tune.effective_learning_rate:g}"
    )


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
