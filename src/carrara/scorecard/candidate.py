"""Who may be chosen: the models of the catalogue, and those of the workspace, whether it lists them or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from carrara.errors import Refusal
from carrara.models import CatalogueModel, Model, model_of_run, read_catalogue
from carrara.models.catalogue import EMBEDDERS, Shape
from carrara.models.load import context_of, tokenizer_folder
from carrara.models.shape import shape_in
from carrara.progress import Progress
from carrara.workspace import Artefact, Workspace


@dataclass(frozen=True)
class Candidate:
    """A model with what is known of it without loading it.

    `entry` is the catalogue's, of the model or of what it was tuned from; `here` its artefact, if it is in the
    workspace. `context` in tokens and `languages` are None where nothing tells them.
    """

    name: str
    entry: CatalogueModel | None
    here: Artefact | None
    shape: Shape
    parameters: int
    context: int | None
    chats: bool
    writes: bool

    @property
    def is_run(self) -> bool:
        return self.here is not None and self.here.kind == "run"

    @property
    def languages(self) -> tuple[str, ...] | None:
        return self.entry.languages if self.entry else None

    @property
    def published(self) -> CatalogueModel | None:
        """The entry whose published figures are this model's own; what was tuned has none."""
        return None if self.is_run else self.entry


def find_candidates(workspace: Workspace, progress: Progress) -> list[Candidate]:
    """The catalogue, then the models and runs of the workspace that it does not list; nothing is fetched or loaded.

    What cannot be read is left out and named.
    """
    known = read_catalogue()
    here = {entry.name: artefact for entry, artefact in models_here(workspace) if entry}
    found = [_from_catalogue(entry, here.get(name)) for name, entry in known.items()]
    others = [artefact for entry, artefact in models_here(workspace) if entry is None]
    for artefact in [*others, *workspace.list("run")]:
        try:
            found.append(_from_workspace(workspace, artefact))
        except (Refusal, OSError, ValueError) as error:
            progress.say(f"{artefact.reference} is left out: {error}")
    return found


def models_here(workspace: Workspace) -> list[tuple[CatalogueModel | None, Artefact]]:
    """The models of the workspace, newest first and each once, with the catalogue's entry of those that it lists."""
    found: dict[str, tuple[CatalogueModel | None, Artefact]] = {}
    for artefact in workspace.list("model"):
        entry = entry_of(artefact)
        found.setdefault(entry.name if entry else artefact.name, (entry, artefact))
    return [*found.values()]


def entry_of(artefact: Artefact) -> CatalogueModel | None:
    """The catalogue's entry of a model artefact, by what it was made from."""
    package = f"pypi:{artefact.made_by.get('package')}=={artefact.made_by.get('version')}"
    hub = artefact.made_by.get("hub")
    known = read_catalogue().values()
    return next((each for each in known if each.reference == package or (hub and each.hub == hub)), None)


def root_of(workspace: Workspace, artefact: Artefact) -> Artefact:
    """The model that a run and those before it began with; a model is its own root."""
    while artefact.kind == "run":
        artefact = workspace.get(artefact.inputs["model"])
    return artefact


def _from_catalogue(entry: CatalogueModel, here: Artefact | None) -> Candidate:
    return Candidate(
        name=entry.name,
        entry=entry,
        here=here,
        shape=entry.shape,
        parameters=entry.parameters,
        context=entry.context,
        chats=entry.template is not None,
        writes=entry.architecture not in EMBEDDERS,
    )


def _from_workspace(workspace: Workspace, artefact: Artefact) -> Candidate:
    is_run = artefact.kind == "run"
    whole = Model(artefact.name, artefact.path, artefact.digest, None, None, artefact)
    model = model_of_run(artefact, workspace) if is_run else whole
    shape, parameters = shape_in(model.path)
    return Candidate(
        name=artefact.reference if is_run else artefact.name,
        entry=entry_of(root_of(workspace, artefact)),
        here=artefact,
        shape=shape,
        parameters=parameters,
        context=context_of(model),
        chats=_has_template(tokenizer_folder(model)),
        writes=not model.is_embedder,
    )


def _has_template(folder: Path) -> bool:
    """Whether the tokenizer's files hold a chat template."""
    if (folder / "chat_template.jinja").is_file():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.is_file() and bool(json.loads(settings.read_text(encoding="utf-8")).get("chat_template"))
