"""What `tune` and `check` are asked for: a recipe, and what the command line changes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carrara.models import Model
    from carrara.progress import Progress
    from carrara.recipe import Recipe
    from carrara.workspace import Workspace


def read_wanted(path: Path, model: str | None, from_run: str | None, data: str | None, **tune: Any) -> Recipe:
    """The recipe with what was given besides; raises Refusal before anything is fetched.

    What is given for `tune` replaces the recipe's; a list adds to it.
    """
    from carrara.errors import Refusal
    from carrara.recipe import override, read_recipe
    from carrara.tune.truth import require_known

    if from_run and model:
        raise Refusal("--from and --model both name where to begin; give one of them.")
    read = read_recipe(path)
    lists = {key: value for key, value in tune.items() if isinstance(value, list)}
    added = {key: [*getattr(read.tune, key), *value] if value else None for key, value in lists.items()}
    wanted = override(read, {"model": from_run or model, "data": data, "tune": tune | added})
    require_known(wanted.tune.allow)
    return wanted


def begin_with(workspace: Workspace, recipe: Recipe, from_run: str | None, progress: Progress) -> Model:
    """The run to move on from, or the recipe's model."""
    from carrara.models import resolve_model, resolve_run

    return resolve_run(workspace, from_run) if from_run else resolve_model(workspace, recipe.model, progress)
