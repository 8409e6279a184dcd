"""The stage: a model, a dataset and a recipe become a run, kept with all that explains it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from carrara.data.dataset import Dataset
from carrara.data.render.dataset import count_tokens
from carrara.data.render.example import Rendered
from carrara.models import Model
from carrara.models.load import Loaded
from carrara.models.machine import choose_device, peak_memory_mb, prepare_for_heavy_work
from carrara.progress import Progress, Silent
from carrara.recipe import Recipe
from carrara.tune.account import PLAN, plan_in_words, read_plan
from carrara.tune.canaries import in_words, keep_canaries, plant
from carrara.tune.checkpoint import newest_first
from carrara.tune.curves import METRICS, Curves, read_curves, retell
from carrara.tune.distributed import World, join_world
from carrara.tune.fit import settled_before
from carrara.tune.job import CHECKPOINTS, Job, as_trained, make_training, with_tune, write_json
from carrara.tune.ledger import Ledger
from carrara.tune.loop import train
from carrara.tune.methods import save
from carrara.tune.network import compile_layers
from carrara.tune.sharded import choose_parallel, make_whole, spread
from carrara.tune.state import Place, take_best
from carrara.tune.trackers import Tracker, open_trackers
from carrara.tune.training import Training
from carrara.tune.truth import check_truth, require_truth
from carrara.workspace import Artefact, Draft, Workspace, artefact_id

FORMAT = 8  # raised when the same recipe would give another result
_TRUTH, _TRACKING = "truth.json", "tracking"
_KEPT = {CHECKPOINTS, PLAN, _TRUTH, METRICS}  # in the folder, when a run is done
_HOW = {  # keys that change how a run is made; its result by rounding, and with dropout by other random numbers
    "allow",
    "batching",
    "checkpoint_activations",
    "checkpoint_minutes",
    "compile",
    "micro_batch_tokens",
    "parallel",
    "track",
}


@dataclass(frozen=True)
class Run:
    """A finished fine-tune; its folder is a PEFT adapter or a Hugging Face model."""

    artefact: Artefact

    @property
    def ledger(self) -> Ledger:
        return Ledger(**json.loads((self.artefact.path / "ledger.json").read_text(encoding="utf-8")))

    @property
    def curve(self) -> list[dict[str, float]]:
        return read_curves(self.artefact.path / METRICS)


def tune_model(
    workspace: Workspace, model: Model, dataset: Dataset, recipe: Recipe, progress: Progress, fresh: bool = False
) -> Run:
    """The run that model, dataset and recipe determine: found, gone on with, or made.

    `fresh` forgets an unfinished run's checkpoints. Raises Refusal for what cannot be trained, GateFailed for a run
    that diverged.
    """
    prepare_for_heavy_work()
    world = join_world()
    device = choose_device()
    recipe, model = as_trained(recipe, model)
    made_by = {
        "format": FORMAT,
        **model.identity(),
        "dataset": dataset.artefact.digest,
        "render": dataset.render,
        "tune": _determining(recipe),
        "dtype": recipe.tune.dtype,
        "device": device.type,
    }
    name = f"{model.source.name}-{recipe.tune.method}"
    identity = artefact_id("run", made_by)

    job = Job(model, dataset, recipe, world, workspace.work_folder("run", identity), progress)
    tracking = workspace.root / _TRACKING
    if not world.leads:  # takes part in each step; the leading process writes
        with world.watched():
            if workspace.find("run", identity) is None:
                _train(replace(job, progress=Silent()), tracking)
            return Run(workspace.wait_for("run", identity))

    def build(draft: Draft) -> None:
        if fresh:  # here, where the lock is held: another process may be at work on the same run
            shutil.rmtree(draft.path / CHECKPOINTS, ignore_errors=True)
        _build(replace(job, folder=draft.path), draft, tracking)

    inputs = {"model": model.source, "dataset": dataset.artefact}
    say, standing = progress.say, workspace.find("run", identity)
    if standing:  # trackers asked for only now get what was measured then
        shutil.rmtree(standing.path / CHECKPOINTS, ignore_errors=True)  # left by a kill at the very end
        retell(standing.path / METRICS, _trackers(job, tracking))
        return Run(standing)
    with world.watched():
        artefact = workspace.make(
            "run", made_by, build, name=name, inputs=inputs, resumable=True, scratch=(CHECKPOINTS,), on_wait=say
        )
        return Run(artefact)


def _trackers(job: Job, tracking: Path) -> list[Tracker]:
    saved = job.recipe.model_dump(mode="json")
    return open_trackers(job.recipe.tune.track, tracking, f"run/{job.folder.name}", saved, job.progress)


def _determining(recipe: Recipe) -> dict[str, Any]:
    """The keys of the recipe that say what is learned, from what and how fast."""
    without = set[str]() if recipe.tune.canaries else {"canaries"}  # a run without any is named as it always was
    keys = recipe.tune.model_dump(exclude={"dtype", *_HOW, *without})
    return {**keys, "learning_rate": recipe.tune.effective_learning_rate, "alpha": recipe.tune.effective_alpha}


def _build(job: Job, draft: Draft, tracking: Path) -> None:
    loaded, training, place, kept = _train(job, tracking)
    for path in draft.path.iterdir():
        if path.name not in _KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    save(training.network, job.recipe.tune, loaded, draft.path)
    history = place.history
    ledger = Ledger(
        tokens=history.tokens,
        supervised_tokens=history.supervised_tokens,
        seconds=history.seconds,
        peak_memory_mb=max(history.peak_memory_mb, peak_memory_mb()),
        energy_wh=history.energy_wh,
        energy_kind=training.meter.kind,
        validation_seconds=history.validation_seconds,
    )
    write_json(draft.path / "ledger.json", ledger.to_json())
    write_json(draft.path / "recipe.json", with_tune(job.recipe, training.recipe).model_dump(mode="json"))
    draft.summary.update(
        method=job.recipe.tune.method,
        model=job.model.name,
        steps=place.step,
        loss={"first": history.first_loss, "last": history.last_loss},
        kept={"step": kept, "why": _why(training, place, kept)},
        trainable=sum(parameter.numel() for parameter in training.optimizer.parameters.values()),
    )
    if job.recipe.tune.canaries:
        canaries = plant(job.recipe.tune.canaries, job.recipe.tune.seed)
        keep_canaries(draft.path, canaries, job.dataset.render)
        draft.summary["canaries"] = in_words(canaries)


def _why(training: Training, place: Place, kept: int) -> str:
    """Why the run holds the weights of this step, in words."""
    history = place.history
    early = ""
    if place.step < training.steps:
        losses = "loss was" if history.stale == 1 else "losses were"
        early = (
            f"; stopped after {place.step} of {training.steps} steps, as {history.stale} held-out {losses} no better"
        )
    if history.best_loss is None:
        return "the last; no held-out loss was measured"
    if kept == history.best_step:
        return f"the best held-out loss, {history.best_loss:.4f}{early}"
    return f"the last; step {history.best_step} had the best held-out loss, {history.best_loss:.4f}{early}"


def _train(job: Job, tracking: Path) -> tuple[Loaded, Training, Place, int]:
    """Train, from the beginning if the truth check finds nothing wrong, or from the newest checkpoint.

    Gives the step whose weights the network holds after, in float32 and whole, in the leading process.
    """
    import torch

    # All wait here until the leading process has its folder in order.
    job = job.with_tune(**settled_before(job.recipe.tune, job.folder / CHECKPOINTS, job.world))
    world, progress = job.world, job.progress
    parallel = choose_parallel(job.model, job.recipe.tune, world)
    job = job.with_tune(parallel=parallel)
    loaded, training = make_training(job)
    _announce(training.rows, job.recipe, progress)
    if plan := read_plan(job.folder):
        progress.say(f"planned: {training.steps} steps in {plan_in_words(plan)}")
    if world.leads and not newest_first(training.checkpoints):
        _check_truth(loaded, job, training)
    if job.recipe.tune.compile:
        compile_layers(training.network, training.device, progress)
    if world.leads:
        training = replace(training, curves=Curves(job.folder / METRICS, _trackers(job, tracking)))
    if world.size > 1:
        how = "the weights are spread over them" if parallel == "shard" else "each holds all weights"
        progress.say(f"{world.size} processes; {how}")
    if parallel == "shard":
        training = spread(training)
    if world.rank:
        torch.manual_seed(job.recipe.tune.seed + world.rank)  # for dropout of its own
    place = train(training, progress)
    kept = take_best(training, place, progress)
    make_whole(training)
    world.any(False)  # the leading process goes on to move the folder away
    return loaded, training, place, kept


def _check_truth(loaded: Loaded, job: Job, training: Training) -> None:
    alone = replace(training, world=World(0, 1))
    truth = check_truth(loaded, job.dataset, alone, training.recipe.allow)
    write_json(job.folder / _TRUTH, truth.to_json())
    require_truth(truth)
    allowed = f" but what is allowed: {', '.join(finding.check for finding in truth.allowed)}"
    job.progress.say(f"truth check: nothing wrong{allowed if truth.allowed else ''} ({truth.facts['seconds']} s)")


def _announce(rows: Sequence[Rendered], recipe: Recipe, progress: Progress) -> None:
    counts = count_tokens(rows)
    cut = f", {counts.truncated_rows} rows cut to fit" if counts.truncated_rows else ""
    progress.say(
        f"{len(rows)} rows, {counts.total:,} tokens, {counts.supervised:,} of them learned "
        f"({counts.supervised / counts.total:.0%}){cut}; method {recipe.tune.method}, "
        f"learning rate {recipe.tune.effective_learning_rate:g}"
    )
