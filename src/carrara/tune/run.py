"""The stage: a model, a dataset and a recipe become a run, kept with all that explains it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from carrara.data.dataset import Dataset
from carrara.data.render.dataset import count_tokens, render_usable, usable_length
from carrara.data.render.example import Rendered
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import Loaded, load_model
from carrara.models.machine import choose_device, choose_dtype, prepare_for_heavy_work
from carrara.progress import Progress, Silent
from carrara.recipe import Recipe, TuneRecipe
from carrara.tune.account import PLAN, plan_in_words, read_plan
from carrara.tune.checkpoint import newest_first
from carrara.tune.curves import METRICS, Curves, read_curves, retell
from carrara.tune.distributed import World, join_world
from carrara.tune.fit import fitting_tokens, keep_settled, plan_training, settled, settled_before
from carrara.tune.ledger import EnergyMeter, Ledger, peak_memory_mb
from carrara.tune.loop import train
from carrara.tune.methods import attach, continued, save, trainable
from carrara.tune.network import compile_layers, make_deterministic, recompute_activations
from carrara.tune.optimizer import Optimizer
from carrara.tune.sharded import choose_parallel, make_whole, spread
from carrara.tune.state import Place, take_best
from carrara.tune.trackers import Tracker, open_trackers
from carrara.tune.training import Training
from carrara.tune.truth import check_truth, require_truth
from carrara.workspace import Artefact, Draft, Workspace, artefact_id, write_atomically

FORMAT = 6  # raised when the same recipe would give another result
_CHECKPOINTS, _TRUTH = "checkpoints", "truth.json"
_KEPT = {_CHECKPOINTS, PLAN, _TRUTH, METRICS}  # in the folder, when a run is done
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

    if not world.leads:  # takes part in each step; the leading process writes
        with world.watched():
            if workspace.find("run", identity) is None:
                _train(workspace, model, dataset, recipe, world, workspace.work_folder("run", identity), Silent())
            return Run(workspace.wait_for("run", identity))

    def build(draft: Draft) -> None:
        if fresh:  # here, where the lock is held: another process may be at work on the same run
            shutil.rmtree(draft.path / _CHECKPOINTS, ignore_errors=True)
        _build(workspace, draft, model, dataset, recipe, world, progress)

    inputs = {"model": model.source, "dataset": dataset.artefact}
    say, standing = progress.say, workspace.find("run", identity)
    if standing:  # trackers asked for only now get what was measured then
        shutil.rmtree(standing.path / _CHECKPOINTS, ignore_errors=True)  # left by a kill at the very end
        retell(standing.path / METRICS, _trackers(workspace, recipe, identity, progress))
        return Run(standing)
    with world.watched():
        artefact = workspace.make(
            "run", made_by, build, name=name, inputs=inputs, resumable=True, scratch=(_CHECKPOINTS,), on_wait=say
        )
        return Run(artefact)


def _trackers(workspace: Workspace, recipe: Recipe, identity: str, progress: Progress) -> list[Tracker]:
    saved = recipe.model_dump(mode="json")
    return open_trackers(recipe.tune.track, workspace.root / "tracking", f"run/{identity}", saved, progress)


def as_trained(recipe: Recipe, model: Model) -> tuple[Recipe, Model]:
    """Recipe and model with what the model's adapter and the machine decide of them: method, shape and precision."""
    tune = continued(recipe.tune, model)
    precision = str(choose_dtype(tune.dtype)).removeprefix("torch.")
    return _with_tune(recipe, tune, dtype=precision), replace(model, four_bit=tune.method == "qlora")


def _with_tune(recipe: Recipe, tune: TuneRecipe, **keys: Any) -> Recipe:
    return recipe.model_copy(update={"tune": tune.model_copy(update=keys)})


def _determining(recipe: Recipe) -> dict[str, Any]:
    """The keys of the recipe that say what is learned, from what and how fast."""
    keys = recipe.tune.model_dump(exclude={"dtype", *_HOW})
    return {**keys, "learning_rate": recipe.tune.effective_learning_rate, "alpha": recipe.tune.effective_alpha}


def _build(
    workspace: Workspace,
    draft: Draft,
    model: Model,
    dataset: Dataset,
    recipe: Recipe,
    world: World,
    progress: Progress,
) -> None:
    loaded, training, place, kept = _train(workspace, model, dataset, recipe, world, draft.path, progress)
    for path in draft.path.iterdir():
        if path.name not in _KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    save(training.network, recipe.tune, loaded, draft.path)
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
    _write(draft.path / "ledger.json", ledger.to_json())
    _write(draft.path / "recipe.json", _with_tune(recipe, training.recipe).model_dump(mode="json"))
    draft.summary.update(
        method=recipe.tune.method,
        model=model.name,
        steps=place.step,
        loss={"first": history.first_loss, "last": history.last_loss},
        kept={"step": kept, "why": _why(training, place, kept)},
        trainable=sum(parameter.numel() for parameter in training.optimizer.parameters.values()),
    )


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


def _train(
    workspace: Workspace,
    model: Model,
    dataset: Dataset,
    recipe: Recipe,
    world: World,
    folder: Path,
    progress: Progress,
) -> tuple[Loaded, Training, Place, int]:
    """Train, from the beginning if the truth check finds nothing wrong, or from the newest checkpoint.

    Gives the step whose weights the network holds after, in float32 and whole, in the leading process.
    """
    import torch

    # All wait here until the leading process has its folder in order.
    recipe = _with_tune(recipe, recipe.tune, **settled_before(recipe.tune, folder / _CHECKPOINTS, world))
    parallel = choose_parallel(model, recipe.tune, world)
    recipe = _with_tune(recipe, recipe.tune, parallel=parallel)
    loaded, training = make_training(model, dataset, recipe, world, folder, progress)
    _announce(training.rows, recipe, progress)
    if plan := read_plan(folder):
        progress.say(f"planned: {training.steps} steps in {plan_in_words(plan)}")
    if world.leads and not newest_first(training.checkpoints):
        _check_truth(loaded, dataset, training, folder, progress)
    if recipe.tune.compile:
        compile_layers(training.network, training.device, progress)
    if world.leads:
        trackers = _trackers(workspace, recipe, folder.name, progress)
        training = replace(training, curves=Curves(folder / METRICS, trackers))
    if world.size > 1:
        how = "the weights are spread over them" if parallel == "shard" else "each holds all weights"
        progress.say(f"{world.size} processes; {how}")
    if parallel == "shard":
        training = spread(training)
    if world.rank:
        torch.manual_seed(recipe.tune.seed + world.rank)  # for dropout of its own
    place = train(training, progress)
    kept = take_best(training, place, progress)
    make_whole(training)
    world.any(False)  # the leading process goes on to move the folder away
    return loaded, training, place, kept


def _check_truth(loaded: Loaded, dataset: Dataset, training: Training, folder: Path, progress: Progress) -> None:
    alone = replace(training, world=World(0, 1))
    truth = check_truth(loaded, dataset, alone, training.recipe.allow)
    _write(folder / _TRUTH, truth.to_json())
    require_truth(truth)
    allowed = f" but what is allowed: {', '.join(finding.check for finding in truth.allowed)}"
    progress.say(f"truth check: nothing wrong{allowed if truth.allowed else ''} ({truth.facts['seconds']} s)")


def make_training(
    model: Model, dataset: Dataset, recipe: Recipe, world: World, folder: Path, progress: Progress
) -> tuple[Loaded, Training]:
    """Everything the loop needs, seeded and ready for step 1; `folder` takes plan, checkpoints and curves."""
    import torch

    from carrara.tune.fused import fuse

    make_deterministic(choose_device())
    torch.manual_seed(recipe.tune.seed)
    # Full tuning starts from the weights as they are stored; the optimizer makes the bfloat16 copy.
    will_spread = world.size > 1 and recipe.tune.parallel == "shard"
    loaded = load_model(
        model,
        "float32" if recipe.tune.method == "full" else recipe.tune.dtype,
        torch.device("cpu") if will_spread else choose_device(),  # what is spread goes to its device layer by layer
    )
    network = attach(loaded, recipe.tune)
    if not recipe.tune.compile and choose_device().type == "cpu":
        fuse(network)
    context = replace(loaded, network=network).context  # less the virtual tokens that were attached
    longest = usable_length(recipe.tune.max_length, context)
    rows = render_usable(dataset, "train", loaded.tokenizer, longest, progress)
    validation = render_usable(dataset, "validation", loaded.tokenizer, longest, progress)
    if recipe.tune.patience and not validation:
        raise Refusal("tune.patience does nothing without held-out rows; leave it out, or raise prepare.validation.")
    training = Training(
        network=network,
        optimizer=Optimizer(trainable(network), choose_dtype(recipe.tune.dtype), recipe.tune),
        rows=rows,
        validation=validation,
        recipe=recipe.tune,
        device=loaded.device,
        world=world,
        checkpoints=folder / _CHECKPOINTS,
        meter=EnergyMeter(recipe.cost),
        curves=Curves(folder / METRICS if world.leads else None),
        identity=folder.name,
    )
    return loaded, _settled(training, model, recipe, progress)


def _settled(training: Training, model: Model, recipe: Recipe, progress: Progress) -> Training:
    """The training with each `auto` of its recipe settled; how, and the plan of it, are written when a run begins."""
    world = training.world
    plan = plan_training(model, training.rows, training.validation, recipe)
    training = replace(training, recipe=settled(recipe.tune, plan))
    if training.recipe.checkpoint_activations:
        recompute_activations(training.network)
    will_spread = world.size > 1 and recipe.tune.parallel == "shard"
    if recipe.tune.micro_batch_tokens == "auto" and not will_spread:  # the plan's stands where no device can try
        tokens = fitting_tokens(training, progress)
        recipe = _with_tune(recipe, training.recipe, micro_batch_tokens=tokens)
        training = replace(training, recipe=recipe.tune)
        plan = replace(plan_training(model, training.rows, training.validation, recipe), reason="")  # it was tried
    agreed = world.from_leader(training.recipe.model_dump_json())  # what was measured differs
    training = replace(training, recipe=TuneRecipe.model_validate_json(agreed))
    if world.leads and not newest_first(training.checkpoints):
        _write(training.checkpoints.parent / PLAN, plan.to_json())
        keep_settled(training)
    return training


def _announce(rows: Sequence[Rendered], recipe: Recipe, progress: Progress) -> None:
    counts = count_tokens(rows)
    cut = f", {counts.truncated_rows} rows cut to fit" if counts.truncated_rows else ""
    progress.say(
        f"{len(rows)} rows, {counts.total:,} tokens, {counts.supervised:,} of them learned "
        f"({counts.supervised / counts.total:.0%}){cut}; method {recipe.tune.method}, "
        f"learning rate {recipe.tune.effective_learning_rate:g}"
    )


def _write(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=1))
