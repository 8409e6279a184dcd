"""What is to be tuned, and everything the loop needs for it: model, rows and optimizer, seeded and ready for step 1."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from carrara.data.dataset import Dataset
from carrara.data.render.dataset import render_usable, usable_length
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.forward import virtual_tokens
from carrara.models.load import Loaded, load_model
from carrara.models.machine import choose_device, choose_dtype
from carrara.progress import Progress
from carrara.recipe import Recipe, TuneRecipe
from carrara.tune.account import PLAN
from carrara.tune.canaries import add_canaries, plant
from carrara.tune.checkpoint import newest_first
from carrara.tune.curves import METRICS, Curves
from carrara.tune.distributed import World
from carrara.tune.fit import fitting_tokens, keep_settled, plan_training, settled
from carrara.tune.ledger import EnergyMeter
from carrara.tune.methods import attach, continued, trainable
from carrara.tune.network import make_deterministic, recompute_activations
from carrara.tune.optimizer import Optimizer
from carrara.tune.training import Training
from carrara.workspace import write_atomically

CHECKPOINTS = "checkpoints"  # in the folder of a job


@dataclass(frozen=True)
class Job:
    """A model that is to learn a dataset by a recipe; `folder` takes plan, checkpoints and curves."""

    model: Model
    dataset: Dataset
    recipe: Recipe
    world: World
    folder: Path
    progress: Progress

    @property
    def will_spread(self) -> bool:
        """Whether the weights are to be spread over several processes."""
        return self.world.size > 1 and self.recipe.tune.parallel == "shard"

    def with_tune(self, **keys: Any) -> Job:
        """The job with these keys of its recipe's stage `tune`."""
        return replace(self, recipe=with_tune(self.recipe, self.recipe.tune, **keys))


def as_trained(recipe: Recipe, model: Model) -> tuple[Recipe, Model]:
    """Recipe and model with what the model's adapter and the machine decide of them: method, shape and precision."""
    tune = continued(recipe.tune, model)
    precision = str(choose_dtype(tune.dtype)).removeprefix("torch.")
    return with_tune(recipe, tune, dtype=precision), replace(model, four_bit=tune.method == "qlora")


def with_tune(recipe: Recipe, tune: TuneRecipe, **keys: Any) -> Recipe:
    """The recipe with other settings of its stage `tune`, and these keys of them."""
    return recipe.model_copy(update={"tune": tune.model_copy(update=keys)})


def make_training(job: Job) -> tuple[Loaded, Training]:
    """The model before anything was attached to it, and everything the loop needs, seeded and ready for step 1."""
    import torch

    from carrara.tune.fused import fuse

    recipe, world, folder, progress = job.recipe, job.world, job.folder, job.progress
    make_deterministic(choose_device())
    torch.manual_seed(recipe.tune.seed)
    # Full tuning starts from the weights as they are stored; the optimizer makes the bfloat16 copy.
    loaded = load_model(
        job.model,
        "float32" if recipe.tune.method == "full" else recipe.tune.dtype,
        torch.device("cpu") if job.will_spread else choose_device(),  # what is spread goes to its device layer by layer
    )
    network = attach(loaded, recipe.tune)
    by_hand = not recipe.tune.compile and choose_device().type == "cpu" and fuse(network)
    context = replace(loaded, network=network).context  # less the virtual tokens that were attached
    longest = usable_length(recipe.tune.max_length, context)
    rows = render_usable(job.dataset, "train", loaded.tokenizer, longest, progress)
    if recipe.tune.canaries:
        planted = plant(recipe.tune.canaries, recipe.tune.seed)
        rows = add_canaries(rows, planted, job.dataset.render, loaded.tokenizer, longest, progress)
    validation = render_usable(job.dataset, "validation", loaded.tokenizer, longest, progress)
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
        checkpoints=folder / CHECKPOINTS,
        meter=EnergyMeter(recipe.cost),
        curves=Curves(folder / METRICS if world.leads else None),
        identity=folder.name,
        shares=by_hand and not recipe.tune.dropout and not virtual_tokens(network),
    )
    return loaded, _settled(training, job)


def _settled(training: Training, job: Job) -> Training:
    """The training with each `auto` of its recipe settled; how, and the plan of it, are written when a run begins."""
    recipe, world = job.recipe, job.world
    plan = plan_training(job.model, training, recipe)
    training = replace(training, recipe=settled(recipe.tune, plan))
    if training.recipe.checkpoint_activations:
        recompute_activations(training.network)
    if recipe.tune.micro_batch_tokens == "auto" and not job.will_spread:  # the plan's stands where no device can try
        tokens = fitting_tokens(training, job.progress)
        recipe = with_tune(recipe, training.recipe, micro_batch_tokens=tokens)
        training = replace(training, recipe=recipe.tune)
        plan = replace(plan_training(job.model, training, recipe), reason="")  # it was tried
    agreed = world.from_leader(training.recipe.model_dump_json())  # what was measured differs
    training = replace(training, recipe=TuneRecipe.model_validate_json(agreed))
    if world.leads and not newest_first(training.checkpoints):
        write_json(job.folder / PLAN, plan.to_json())
        keep_settled(training)
    return training


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, atomically."""
    write_atomically(path, json.dumps(value, indent=1))
