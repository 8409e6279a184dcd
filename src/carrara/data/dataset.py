"""A dataset: examples, checked and split, kept as an artefact that knows no model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from carrara.data.example import Example, example_from_json
from carrara.errors import Refusal
from carrara.workspace import RECORD, Artefact, Workspace, user_path

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
QUARANTINE = "quarantine.jsonl"  # rows that were not kept, with the reason
CHANGES = "changes.jsonl"  # what was changed in rows that were kept
CHECKS = "checks.json"  # what the checks found; a dossier shows it


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset; `artefact.summary` holds the counts of rows and splits."""

    artefact: Artefact

    @property
    def render(self) -> Literal["chat", "plain"]:
        return self.artefact.summary["render"]

    @property
    def checks(self) -> dict[str, Any]:
        """What the checks found, the parts of a dossier that know no model."""
        return json.loads((self.artefact.path / CHECKS).read_text(encoding="utf-8"))

    def each(self, split: Split) -> Iterator[Example]:
        """The examples of a split, one after the other, in the order of the source."""
        with (self.artefact.path / f"{split}.jsonl").open(encoding="utf-8") as file:
            for line in file:
                yield example_from_json(json.loads(line))

    def examples(self, split: Split) -> list[Example]:
        """All the examples of a split."""
        return list(self.each(split))


def find_dataset(workspace: Workspace, text: str) -> Dataset:
    """A prepared dataset by `dataset/<id>`, by its folder, or by the name of what it was made from (the latest)."""
    if found := existing_dataset(workspace, text):
        return found
    if named := [artefact for artefact in workspace.list("dataset") if artefact.name == text]:
        return Dataset(named[0])
    raise Refusal(f"{text} is no prepared dataset; `carrara runs` lists them, `carrara prepare` makes one.")


def export_dataset(dataset: Dataset, target: Path) -> None:
    """Copy a dataset's folder to `target`, whole or not at all; only an older dataset is replaced."""
    target = target.absolute()
    is_dataset = _recorded_kind(target) == "dataset"
    if target.exists() and not is_dataset and (not target.is_dir() or any(target.iterdir())):
        raise Refusal(f"{target} exists and is no dataset; choose another place for -o.")
    temporary, old = (target.with_name(f".{target.name}.{word}") for word in ("part", "old"))
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(dataset.artefact.path, temporary)
    if target.exists():
        target.replace(old)
    temporary.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def _recorded_kind(folder: Path) -> str | None:
    try:
        return json.loads((folder / RECORD).read_text(encoding="utf-8")).get("kind")
    except (OSError, ValueError, AttributeError):
        return None


def existing_dataset(workspace: Workspace, source: str) -> Dataset | None:
    """The prepared dataset that `source` means, or None if it is something to prepare."""
    folder = user_path(source)
    if source.startswith("dataset/") and not folder.exists():
        return Dataset(workspace.get(source))
    if not (folder / RECORD).is_file():
        return None
    if _recorded_kind(folder) != "dataset":
        raise Refusal(f"{source} is no prepared dataset; give a data file or what `carrara prepare -o` wrote.")
    return Dataset(workspace.adopt(folder))
