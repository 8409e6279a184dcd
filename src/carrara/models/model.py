"""A model ready to use: a base pinned by digest, and perhaps an adapter on it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from carrara.errors import Refusal
from carrara.models.catalogue import EMBEDDERS
from carrara.models.reference import Reference, parse_reference
from carrara.models.sources import digest_of_adapter, import_model
from carrara.progress import Progress
from carrara.workspace import Artefact, Workspace


@dataclass(frozen=True)
class Model:
    """`path` is a Hugging Face folder; `adapter` a PEFT folder or None; `source` the artefact it came from.

    `four_bit` says that the base is held in 4 bits, as it was when the adapter was trained.
    """

    name: str
    path: Path
    digest: str
    adapter: Path | None
    adapter_digest: str | None
    source: Artefact
    four_bit: bool = False

    @property
    def is_embedder(self) -> bool:
        """Whether the model turns texts into vectors and writes none."""
        config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        return any(name in EMBEDDERS for name in config.get("architectures") or ())

    def identity(self) -> dict[str, str | None]:
        """What determines every number this model yields."""
        bits: dict[str, str | None] = {"bits": "4"} if self.four_bit else {}
        return {"model": self.digest, "adapter": self.adapter_digest, **bits}

    def require_unchanged(self) -> None:
        """Refuse an adapter that was overwritten since it was resolved: what was loaded may be another one."""
        if self.adapter and digest_of_adapter(self.adapter) != self.adapter_digest:
            raise Refusal(f"the adapter {self.adapter} was overwritten while it was read; run the same command again.")


def resolve_model(workspace: Workspace, text: str, progress: Progress) -> Model:
    """The model that a reference names, fetched and converted if need be; raises Refusal."""
    reference = parse_reference(text)
    if run := _run(workspace, reference):
        return model_of_run(run, workspace)
    if reference.scheme == "adapter":
        return _foreign_adapter(workspace, reference, progress)
    artefact = import_model(workspace, reference, progress)
    return Model(text, artefact.path, artefact.digest, None, None, artefact)


def resolve_run(workspace: Workspace, text: str) -> Model:
    """The tuned model of this workspace that `text` names; raises Refusal for anything else, and fetches nothing."""
    local = text.startswith("run/") or Path(text).is_dir()
    if local and (run := _run(workspace, parse_reference(text))):
        return model_of_run(run, workspace)
    raise Refusal(f"'{text}' is no run of this workspace; `carrara runs run` lists them, --model takes a model.")


def model_of_run(run: Artefact, workspace: Workspace) -> Model:
    """The tuned model that a run left: its own weights, or its one adapter on the base it was trained on."""
    name = f"run/{run.id}"
    if (run.path / "config.json").is_file():
        return Model(name, run.path, run.digest, None, None, run)
    base = workspace.get(run.inputs["model"])
    path, digest = base.path, base.digest
    if base.kind == "run":  # full weights, or an adapter that this run went on with, on the base that both share
        before = model_of_run(base, workspace)
        path, digest = before.path, before.digest
    four_bit = run.summary.get("method") == "qlora"
    return Model(name, path, digest, run.path, digest_of_adapter(run.path), run, four_bit)


def base_of_run(model: Model, workspace: Workspace) -> Model | None:
    """What a run was tuned from, held in as many bits, so that what differs is what was learned; None for no run."""
    if model.source.kind != "run":
        return None
    before = workspace.get(model.source.inputs["model"])
    if before.kind == "run":
        return replace(model_of_run(before, workspace), four_bit=model.four_bit)
    return Model(before.name, before.path, before.digest, None, None, before, model.four_bit)


def _run(workspace: Workspace, reference: Reference) -> Artefact | None:
    """The run that `run/<id>` or the folder of a run of this workspace names; None for any other model."""
    if reference.scheme == "run":
        return workspace.get(reference.target)
    run = workspace.find("run", reference.path.name) if reference.path else None
    return run if run and run.path == reference.path else None


def _foreign_adapter(workspace: Workspace, reference: Reference, progress: Progress) -> Model:
    folder = reference.path
    assert folder is not None
    digest = digest_of_adapter(folder)
    try:
        base_name = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        base_text = base_name if Path(base_name).exists() else f"hub:{base_name}"
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise Refusal(
            f"{folder / 'adapter_config.json'} does not name its base model; add base_model_name_or_path."
        ) from error
    base = import_model(workspace, parse_reference(base_text), progress)
    return Model(reference.text, base.path, base.digest, folder, digest, base)
