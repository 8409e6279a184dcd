"""What a stage leaves behind: a folder of files that never change, and the record of what made it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.workspace.files import digest_of_value

RECORD = "artefact.json"
_ID_LENGTH = 16


@dataclass(frozen=True)
class Artefact:
    """A finished result. `made_by` determines `id`; `inputs` name the artefacts it was made from."""

    kind: str
    id: str
    name: str
    path: Path
    made_by: Mapping[str, Any]
    inputs: Mapping[str, str]  # role -> "kind/id"
    summary: Mapping[str, Any]  # small figures for listings
    files: Mapping[str, str]  # path below the folder -> sha256
    created: str  # ISO 8601, UTC

    @property
    def reference(self) -> str:
        return f"{self.kind}/{self.id}"

    @property
    def digest(self) -> str:
        """The digest of the files' content, whatever made them."""
        return digest_of_value(dict(self.files))

    def record(self) -> str:
        fields = asdict(self)
        del fields["path"]
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"


def artefact_id(kind: str, made_by: Mapping[str, Any]) -> str:
    """The name of an artefact: the beginning of the digest of what made it."""
    return digest_of_value({"kind": kind, "made_by": made_by})[:_ID_LENGTH]


def read_artefact(folder: Path) -> Artefact:
    """The artefact in a folder; raises Refusal if its record is missing or damaged."""
    try:
        fields = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return Artefact(path=folder, **fields)
    except (OSError, ValueError, TypeError) as error:
        raise Refusal(
            f"{folder} is no readable artefact ({error}); remove the folder and run the step again."
        ) from error


def missing_files(artefact: Artefact) -> Sequence[str]:
    """Recorded files that are no longer there."""
    return [name for name in artefact.files if not (artefact.path / name).is_file()]
