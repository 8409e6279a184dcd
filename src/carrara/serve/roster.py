"""Who answers at a server: models by the names that they are asked by, and more while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from carrara.errors import Refusal
from carrara.models import Model, resolve_model
from carrara.progress import Progress
from carrara.serve.engine import Engine
from carrara.serve.engines import Choice, Reopened, open_engine
from carrara.serve.remote import open_remote
from carrara.workspace import Workspace, digest_of_value


class Roster:
    """Opens models, and others later; `digests` holds those of the models that are known here, by name."""

    def __init__(
        self, choice: Choice, references: Mapping[str, str], workspace: Workspace, dtype: str, progress: Progress
    ) -> None:
        """`references` gives the model of each name; raises Refusal for one that cannot be served."""
        self._workspace = workspace
        self._progress = progress
        self._references = dict(references)
        self._adding = threading.Lock()
        self.digests: dict[str, str] = {}
        self.engine: Engine
        self._add: Callable[[Mapping[str, str]], None]
        if choice.kind == "openai" or choice.kind == "vllm":
            far = Reopened(references, lambda names: open_remote(choice, list(names), self._resolve))
            self.engine, self._add = far, far.add
        else:
            near = open_engine(choice.kind, self._resolved(references), workspace, dtype, progress)
            self.engine, self._add = near, lambda more: near.add(self._resolved(more))

    def add(self, references: Mapping[str, str]) -> None:
        """Answer as these names, too; raises Refusal for one that is taken, or cannot be served."""
        with self._adding:
            for name in references:
                if name in self.engine.models():
                    raise Refusal(f"{name} is served here already; name another.")
            self._references |= references
            self._add(references)

    def _resolved(self, references: Mapping[str, str]) -> dict[str, Model]:
        return {name: self._resolve(name) for name in references}

    def _resolve(self, name: str) -> Model:
        model = resolve_model(self._workspace, self._references[name], self._progress)
        self.digests[name] = digest_of_value(model.identity())
        return model
