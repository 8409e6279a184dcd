"""Whom a card is about: a model that is here, what it was tuned from, and the rows it was tuned on or is meant for."""

from __future__ import annotations

from dataclasses import dataclass

from carrara.data.dataset import Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.models import CatalogueModel, Model, base_of_run, resolve_model
from carrara.models.adapters import Adapted, load_together
from carrara.progress import Progress
from carrara.recipe import CostRecipe, make_recipe
from carrara.scorecard.candidate import entry_of, root_of
from carrara.workspace import Workspace


@dataclass(frozen=True)
class Subject:
    """A resolved model with all that its card is made from; nothing is loaded yet.

    `base` is what it was tuned from, None for a model that is no run of this workspace; `entry` is the catalogue's,
    of the model or of what it was tuned from; `dataset` is the one named, else the one it was tuned on.
    """

    workspace: Workspace
    model: Model
    base: Model | None
    entry: CatalogueModel | None
    dataset: Dataset | None
    cost: CostRecipe
    progress: Progress
    seed: int = 0

    @property
    def tuned_on(self) -> Dataset | None:
        """The rows it was tuned on, whichever the card is asked for; None for a base."""
        learned = self.model.source.inputs.get("dataset") if self.base else None
        return Dataset(self.workspace.get(learned)) if learned else None


@dataclass(frozen=True)
class Pair:
    """The subject's model and its base, on one network where they may share it; use `switched_on` on either."""

    model: Adapted
    base: Adapted | None


def find_subject(
    workspace: Workspace, reference: str, data: str | None, cost: CostRecipe, progress: Progress
) -> Subject:
    """Whom `reference` names; raises Refusal for a model or data that cannot be had."""
    model = resolve_model(workspace, reference, progress)
    base = base_of_run(model, workspace)
    learned = model.source.inputs.get("dataset")
    if data:
        dataset = prepare_dataset(workspace, make_recipe({"data": data, "prepare": {"against": []}}), progress)
    else:
        dataset = Dataset(workspace.get(learned)) if learned else None
    entry = entry_of(root_of(workspace, model.source))
    return Subject(workspace, model, base, entry, dataset, cost, progress)


def load_pair(subject: Subject, dtype: str = "auto") -> Pair:
    """Load the subject's model and its base; raises Refusal for one that does not load."""
    together = load_together([subject.model, *([subject.base] if subject.base else [])], dtype)
    return Pair(together[0], together[1] if subject.base else None)
