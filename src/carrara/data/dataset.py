"""A dataset: examples, checked and split, kept as an artefact that knows no model."""

from __future__ import annotations

import hashlib
import heapq
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from carrara.data.example import Example, example_from_json
from carrara.errors import Refusal
from carrara.wording import line
from carrara.workspace import RECORD, Artefact, Workspace, user_path

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
QUARANTINE = "quarantine.jsonl"  # rows that were not kept, with the reason
CHANGES = "changes.jsonl"  # what was changed in rows that were kept
LEAKS = "contamination.jsonl"  # rows that hold questions of benchmarks, with both texts
CHECKS = "checks.json"  # what the checks found; a dossier shows it
FATES = {
    "personal_data": "rows with personal data",
    "contaminated": "copies of benchmark questions",
    "exact_duplicate": "exact copies of another row",
    "near_duplicate": "near-copies of another row",
}  # why rows that can be used are dropped, each with what it is told as; where several do, the first counts


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
            for text in file:
                yield example_from_json(json.loads(text))

    def examples(self, split: Split) -> list[Example]:
        """All the examples of a split."""
        return list(self.each(split))

    def rows(self) -> Iterable[tuple[Split, Example]]:
        """All rows with their splits, read anew each time they are gone through."""
        return _Rows(self)

    def sample(self, split: str, count: int, seed: int) -> list[Example]:
        """Rows of a split taken at random, in the order of the source; another seed takes others.

        They are those whose digests with the seed are the least, so that each is as likely and none is kept in
        memory but they. Raises Refusal for a split that is none.
        """
        if split not in SPLITS:
            raise Refusal(f"there is no split '{line(split)}'; known are {', '.join(SPLITS)}.")

        def place(numbered: tuple[int, bytes]) -> bytes:
            return hashlib.sha256(f"{seed}:".encode() + numbered[1]).digest()

        with (self.artefact.path / f"{split}.jsonl").open("rb") as file:
            chosen = heapq.nsmallest(count, enumerate(file), key=place)
        return [example_from_json(json.loads(raw)) for _, raw in sorted(chosen)]


@dataclass(frozen=True)
class _Rows:
    dataset: Dataset

    def __iter__(self) -> Iterator[tuple[Split, Example]]:
        return ((split, example) for split in SPLITS for example in self.dataset.each(split))


def find_dataset(workspace: Workspace, text: str) -> Dataset:
    """A prepared dataset by `dataset/<id>`, by its folder, or by the name of what it was made from (the latest)."""
    if found := existing_dataset(workspace, text):
        return found
    if named := [artefact for artefact in workspace.list("dataset") if artefact.name == text]:
        return Dataset(named[0])
    raise Refusal(f"{text} is no prepared dataset; `carrara runs` lists them, `carrara prepare` makes one.")


def require_export_place(target: Path) -> None:
    """Raise Refusal if `target` holds anything but an older dataset."""
    is_dataset = _recorded_kind(target) == "dataset"
    if target.exists() and not is_dataset and (not target.is_dir() or any(target.iterdir())):
        raise Refusal(f"{target.absolute()} exists and is no dataset; choose another place for -o.")


def export_dataset(dataset: Dataset, target: Path) -> None:
    """Copy a dataset's folder to `target`, whole or not at all; only an older dataset is replaced."""
    target = target.absolute()
    require_export_place(target)
    temporary, old = (target.with_name(f".{target.name}.{word}") for word in ("part", "old"))
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copytree(dataset.artefact.path, temporary)
    except shutil.Error as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise Refusal(
            f"{target} cannot be written ({error.args[0][0][2]}); make room or choose another place."
        ) from error
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
