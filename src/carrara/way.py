"""The whole way of a recipe: prepare, tune, evaluate before and after, compare. Each step stands once it is made."""

from __future__ import annotations

from dataclasses import dataclass

from carrara.data.dataset import Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.errors import Refusal
from carrara.evaluate.run import Evaluation, evaluate_models
from carrara.models import Model, model_of_run, resolve_model
from carrara.progress import Progress
from carrara.recipe import Recipe
from carrara.tune.run import Run, tune_model
from carrara.verdict.stage import MARGIN, Comparison, compare_scores
from carrara.workspace import Workspace


@dataclass(frozen=True)
class Way:
    """Everything a recipe led to."""

    recipe: Recipe
    model: Model
    dataset: Dataset
    run: Run
    base: Evaluation
    tuned: Evaluation
    comparison: Comparison


def walk(workspace: Workspace, recipe: Recipe, progress: Progress) -> Way:
    """Go the whole way; raises Refusal where a step cannot be done. Nothing made before is lost."""
    progress.say("1/5 choose    the model is pinned by digest, so that every figure belongs to these weights")
    model = resolve_model(workspace, recipe.model, progress)
    progress.say("2/5 prepare   rows are checked and split; what is held out is never trained on")
    dataset = prepare_dataset(workspace, recipe, progress)
    progress.say(f"3/5 tune      {recipe.tune.method} learns the completions and their end, nothing else")
    run = tune_model(workspace, model, dataset, recipe, progress)
    progress.say("4/5 evaluate  the same questions before and after, without near-copies of training rows")
    base, tuned = _evaluate(workspace, [model, model_of_run(run.artefact, workspace)], dataset, recipe, progress)
    progress.say("5/5 compare   item by item: is the difference real, and what did it cost elsewhere?")
    comparison = compare_scores(workspace, base.path, tuned.path, MARGIN, recipe.gate, progress)
    return Way(recipe, model, dataset, run, base, tuned, comparison)


def _evaluate(
    workspace: Workspace, models: list[Model], dataset: Dataset, recipe: Recipe, progress: Progress
) -> list[Evaluation]:
    """The scores of each model, which share a network; raises Refusal if one of them can do none of the tasks."""
    near = dataset if recipe.evaluate.skip_near_copies else None
    found = evaluate_models(workspace, models, recipe.evaluate, progress, heldout=dataset, not_near=near)
    if len(found) < len(models):
        raise Refusal(f"only {found[0].model} can do any of the tasks; name others under evaluate, tasks.")
    return found
