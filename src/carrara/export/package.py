"""The stage: a model becomes files that other programs read, made once in the workspace or put into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from carrara.errors import Refusal
from carrara.export.card import base_name, write_card
from carrara.export.examination import examine_package, require_memory, require_same_settings
from carrara.export.gguf import Quantization, require_same_adapter, write_gguf, write_gguf_adapter
from carrara.export.merge import merge, require_written_out
from carrara.export.ollama import leave_bos_to_template, modelfile
from carrara.export.passport import Passport, require
from carrara.models import Model
from carrara.models.sources import TOKENIZER_FILES
from carrara.progress import Progress
from carrara.workspace import Artefact, Draft, Workspace, digest_of_file, is_full_disk

Target = Literal["safetensors", "adapter", "gguf", "gguf-adapter", "ollama"]
TARGETS: tuple[Target, ...] = ("safetensors", "adapter", "gguf", "gguf-adapter", "ollama")
QUANTIZED: tuple[Target, ...] = ("gguf", "ollama")  # those that have a number format of their own

FORMAT = 2  # raised when the same model would give other files
_CONFIG = "adapter_config.json"
_MODEL, _ADAPTER, _MERGED, _PASSPORT = "model.gguf", "adapter.gguf", "merged", "passport.json"


@dataclass(frozen=True)
class Package:
    """An exported model: the folder, the names of its files, and its passport unless it was not examined."""

    folder: Path
    files: tuple[str, ...]
    passport: Passport | None

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "files": [*self.files],
            "passport": self.passport.to_json() if self.passport else {"checks": [], "holds": None},
        }


def base_gguf(workspace: Workspace, model: Model, quantization: Quantization, progress: Progress) -> Path:
    """The GGUF file of the model without its adapter, made and compared with it once; weights are not compared.

    Raises Refusal where there can be none, and by the step that went wrong.
    """
    require_written_out(model)

    def write(folder: Path) -> None:
        write_gguf(model.path, folder / _MODEL, quantization)
        require_same_settings(replace(model, adapter=None, adapter_digest=None), folder / _MODEL)

    what = f"the base of {model.name}" if model.adapter else model.name
    made_by = {"model": model.digest, "quantization": quantization}
    source = None if model.adapter else model.source
    return _made(workspace, f"{what} as GGUF, {quantization}", made_by, source, write, progress) / _MODEL


def merged_gguf(workspace: Workspace, model: Model, quantization: Quantization, progress: Progress) -> Path:
    """The GGUF file of the model with its adapter merged, made once; raises Refusal where there can be none."""
    if model.adapter is None:
        return base_gguf(workspace, model, quantization, progress)

    def write(folder: Path) -> None:
        (folder / _MERGED).mkdir()
        merge(model, folder / _MERGED)
        write_gguf(folder / _MERGED, folder / _MODEL, quantization)

    made_by = {**model.identity(), "quantization": quantization}
    return _made(workspace, f"{model.name} as GGUF, {quantization}", made_by, model.source, write, progress) / _MODEL


def adapter_gguf(workspace: Workspace, model: Model, progress: Progress) -> Path:
    """The GGUF file of the model's adapter, made and compared with it once.

    Raises Refusal where there can be none, and by what is wrong with it.
    """
    require_written_out(model)
    adapter = _adapter_of(model)

    def write(folder: Path) -> None:
        write_gguf_adapter(adapter, model.path, folder / _ADAPTER)
        model.require_unchanged()
        require_same_adapter(folder / _ADAPTER, adapter, model.path)

    made_by = {**model.identity(), "only": "adapter"}
    what = f"the adapter of {model.name} as GGUF"
    return _made(workspace, what, made_by, model.source, write, progress) / _ADAPTER


def _made(
    workspace: Workspace,
    what: str,
    made_by: Mapping[str, Any],
    source: Artefact | None,
    write: Callable[[Path], None],
    progress: Progress,
) -> Path:
    """The folder of the artefact that `made_by` determines, filled by `write` unless it stands.

    Raises Refusal for one that is no longer as it was made: its file may be well-formed and answer otherwise.
    """

    def build(draft: Draft) -> None:
        progress.say(f"writing {what}")
        write(draft.path)

    inputs = {"model": source} if source else {}
    made_by = {"format": FORMAT, **made_by}
    say = progress.say
    made = workspace.make("gguf", made_by, build, name=what, inputs=inputs, scratch=(_MERGED,), on_wait=say)
    for name, digest in made.files.items():
        if digest_of_file(made.path / name) != digest:
            raise Refusal(f"{made.path / name} was changed since it was made; remove that folder, and it is made anew.")
    return made.path


def export_model(
    workspace: Workspace,
    model: Model,
    target: Target,
    quantization: Quantization,
    out: Path,
    progress: Progress,
    examined: bool = True,
) -> Package:
    """Fill the folder `out` with the model in one of the forms that `TARGETS` names, whole or not at all.

    `quantization` is the number format of those in `QUANTIZED`. Unless `examined` is false, the package is read back
    and compared with the model, and its passport is put beside it. Raises Refusal for a folder that holds something
    already, for a model that the form cannot hold, and for a package that is not the model.
    """
    write: dict[Target, Callable[[Path], None]] = {
        "safetensors": partial(_write_safetensors, workspace, model),
        "adapter": partial(_write_adapter, workspace, model),
        "gguf": lambda folder: _copy(merged_gguf(workspace, model, quantization, progress), folder),
        "gguf-adapter": lambda folder: _copy(adapter_gguf(workspace, model, progress), folder),
        "ollama": lambda folder: _write_ollama(model, merged_gguf(workspace, model, quantization, progress), folder),
    }
    passport = None
    if examined:
        require_memory(model)  # before what takes long
    with _filled_at_once(out.resolve()) as folder:
        if target == "ollama":
            modelfile(model, _MODEL)  # refuses before what takes long
        write[target](folder)
        if examined:
            passport = _examine(workspace, model, target, quantization, folder, progress)
            require(passport)
            (folder / _PASSPORT).write_text(json.dumps(passport.to_json(), indent=2) + "\n", encoding="utf-8")
        if target == "ollama":  # what is examined is the model; here Ollama's template writes the first token
            leave_bos_to_template(folder / _MODEL)
        files = tuple(sorted(path.name for path in folder.iterdir()))
    return Package(out, files, passport)


def _examine(
    workspace: Workspace, model: Model, target: Target, quantization: Quantization, folder: Path, progress: Progress
) -> Passport:
    if target == "safetensors":
        return examine_package(workspace, model, "folder", folder, "safetensors", progress)
    if target == "adapter":
        return examine_package(workspace, model, "adapter", folder, "adapter", progress)
    if target == "gguf-adapter":
        return examine_package(workspace, model, "gguf-adapter", folder / _ADAPTER, "adapter", progress)
    return examine_package(workspace, model, "gguf", folder / _MODEL, quantization, progress)


@contextmanager
def _filled_at_once(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when all went well, and is gone when not."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise Refusal(f"{out} is not an empty folder; name another with -o.")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    try:
        yield folder
        folder.chmod(0o755)
        folder.replace(out)  # onto an empty folder, if there is one
    except Exception as error:  # safetensors has a kind of its own for a full disk
        if not is_full_disk(error):
            raise
        raise Refusal(f"the disk that holds {out} is full; make room and run the same command again.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_safetensors(workspace: Workspace, model: Model, folder: Path) -> None:
    merge(model, folder)
    write_card(folder / "README.md", workspace, model)


def _write_adapter(workspace: Workspace, model: Model, folder: Path) -> None:
    """The adapter as it is, but for the name of its base, which others have elsewhere."""
    adapter = _adapter_of(model)
    for name in ("adapter_model.safetensors", *TOKENIZER_FILES):
        if (adapter / name).is_file():
            _copy(adapter / name, folder)
    config = json.loads((adapter / _CONFIG).read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": base_name(workspace, model)}
    model.require_unchanged()
    (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_card(folder / "README.md", workspace, model, merged=False)


def _write_ollama(model: Model, file: Path, folder: Path) -> None:
    (folder / "Modelfile").write_text(modelfile(model, _MODEL), encoding="utf-8")
    _copy(file, folder)


def _adapter_of(model: Model) -> Path:
    if model.adapter is None:
        raise Refusal(f"{model.name} has no adapter; export --to safetensors or --to gguf.")
    return model.adapter


def _copy(path: Path, folder: Path) -> None:
    shutil.copyfile(path, folder / path.name)
