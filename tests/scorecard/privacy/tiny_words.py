"""A tiny model to which each word of a canary is one token, and a run of it with canaries in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from carrara.data.dataset import Dataset
from carrara.models import Model, resolve_model
from carrara.progress import Silent
from carrara.recipe import CostRecipe, PrepareRecipe, Recipe, TuneRecipe
from carrara.scorecard.subject import Subject, find_subject
from carrara.tune.canaries import WORDS
from carrara.tune.run import tune_model
from carrara.workspace import Workspace
from tests.tiny import one_thread, prepared, write_tiny_model


def word_model(workspace: Workspace, folder: Path, seed: int = 0) -> Model:
    """A random model of two layers whose tokenizer knows the words of secrets."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    write_tiny_model(folder, seed)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([*WORDS])
    tokenizer.save_pretrained(folder)
    network = LlamaForCausalLM.from_pretrained(folder)
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    network.save_pretrained(folder)
    return resolve_model(workspace, str(folder), Silent())


def plain_rows(workspace: Workspace, source: Path, **prepare: Any) -> Dataset:
    """The rows of a file, rendered plain."""
    return prepared(workspace, source, PrepareRecipe.model_validate({"render": "plain", **prepare}))


def tuned(workspace: Workspace, model: Model, dataset: Dataset, **tune: Any) -> Subject:
    """The subject of a run over all weights."""
    keys = {
        "method": "full",
        "batch_size": 8,
        "learning_rate": 0.01,
        "keep": "last",
        "allow": ("learning-rate", "steps"),
    }
    recipe = Recipe(tune=TuneRecipe.model_validate({**keys, **tune}))
    with one_thread():
        run = tune_model(workspace, model, dataset, recipe, Silent())
    return find_subject(workspace, run.artefact.reference, None, CostRecipe(), Silent())
