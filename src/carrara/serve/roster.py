"""Who answers at a server: models by the names that they are asked by, and more while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial

from carrara.errors import Refusal
from carrara.models import Model, resolve_model
from carrara.progress import Progress
from carrara.serve.engine import Engine
from carrara.serve.engines import Choice, Growing, Reopened, open_engine
from carrara.serve.remote import Loaded, open_remote
from carrara.workspace import Workspace, digest_of_value


class Roster:
    """Opens models, and others later; `digests` holds those of the models that are known here, by name."""

    def __init__(
        self, choice: Choice, references: Mapping[str, str], workspace: Workspace, dtype: str, progress: Progress
    ) -> None:
        """`references` gives the model of each name; raises Refusal for one that cannot be served."""
        self._workspace = workspace
        self._progress = progress
        self._taken: set[str] = set()  # also by models that the engine has withdrawn
        self._adding = threading.Lock()
        self._loaded = Loaded()
        self.digests: dict[str, str] = {}
        self.engine: Engine
        self._add: Callable[[Mapping[str, str]], None]
        if choice.kind == "openai" or choice.kind == "vllm":
            far = Reopened(references, partial(self._open_far, choice))
            self.engine, self._add = far, far.add
        else:
            models = self._resolved(references)
            near = open_engine(choice.kind, models, workspace, dtype, progress)
            self.engine, self._add = near, partial(self._add_near, near)
            self.digests |= _digests(models)
        self._taken |= references.keys()

    def add(self, references: Mapping[str, str]) -> None:
        """Answer as these names, too; raises Refusal for one that is taken, or cannot be served."""
        with self._adding:
            for name in references:
                if name in self._taken:
                    raise Refusal(f"{name} is served here already; name another.")
            self._add(references)
            self._taken |= references.keys()

    def _open_far(self, choice: Choice, references: Mapping[str, str]) -> Engine:
        models: dict[str, Model] = {}

        def resolve(name: str) -> Model:
            models[name] = self._resolve(references[name])
            return models[name]

        engine = open_remote(choice, list(references), resolve, self._loaded)
        self.digests |= _digests(models)
        return engine

    def _add_near(self, engine: Growing, references: Mapping[str, str]) -> None:
        models = self._resolved(references)
        engine.add(models)
        self.digests |= _digests(models)

    def _resolved(self, references: Mapping[str, str]) -> dict[str, Model]:
        return {name: self._resolve(reference) for name, reference in references.items()}

    def _resolve(self, reference: str) -> Model:
        return resolve_model(self._workspace, reference, self._progress)


def _digests(models: Mapping[str, Model]) -> dict[str, str]:
    return {name: digest_of_value(model.identity()) for name, model in models.items()}
