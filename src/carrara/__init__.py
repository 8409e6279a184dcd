"""Carrara: fine-tune LLaMA-family models on private data, with evidence that it helped.

The same verbs as the command line: `open_workspace`, `read_recipe`, `resolve_model`, `prepare_dataset`,
`tune_model`, `evaluate_model`, `compare_scores`, and `walk` for the whole way of a recipe.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("carrara")

_HOME = {
    "Recipe": "carrara.recipe",
    "Refusal": "carrara.errors",
    "Silent": "carrara.progress",
    "compare_scores": "carrara.verdict.stage",
    "evaluate_model": "carrara.evaluate.run",
    "model_of_run": "carrara.models",
    "open_workspace": "carrara.workspace",
    "prepare_dataset": "carrara.data.prepare.stage",
    "read_recipe": "carrara.recipe",
    "resolve_model": "carrara.models",
    "tune_model": "carrara.tune.run",
    "walk": "carrara.way",
}


def __getattr__(name: str) -> Any:  # imported on first use, so that the command starts quickly
    if name not in _HOME:
        raise AttributeError(f"module 'carrara' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)
