"""The truth check by itself: everything up to the first step, and nothing kept."""

from __future__ import annotations

import tempfile
from pathlib import Path

from carrara.data.dataset import Dataset
from carrara.models import Model
from carrara.models.machine import prepare_for_heavy_work
from carrara.progress import Progress
from carrara.recipe import Recipe
from carrara.tune.distributed import World
from carrara.tune.job import Job, as_trained, make_training
from carrara.tune.truth import Truth, check_truth


def rehearse(model: Model, dataset: Dataset, recipe: Recipe, progress: Progress) -> Truth:
    """What the truth check would say before step 1 of this recipe; raises Refusal for what cannot be trained."""
    prepare_for_heavy_work()
    recipe, model = as_trained(recipe, model)
    with tempfile.TemporaryDirectory() as folder:
        loaded, training = make_training(Job(model, dataset, recipe, World(0, 1), Path(folder), progress))
        return check_truth(loaded, dataset, training, recipe.tune.allow)
