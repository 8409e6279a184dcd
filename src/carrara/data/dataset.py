"""A dataset: examples, checked and split, kept as an artefact that knows no model."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from carrara.data.example import Example, example_from_json
from carrara.data.read import BadRow, read_rows
from carrara.errors import Refusal
from carrara.progress import Progress
from carrara.recipe import PrepareRecipe
from carrara.workspace import RECORD, Artefact, Draft, Workspace, user_path

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
QUARANTINE = "quarantine.jsonl"
FORMAT = 1  # raised when the same file would give other examples
_SHOWN = 5


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset; `artefact.summary` holds the counts of rows and splits."""

    artefact: Artefact

    @property
    def render(self) -> Literal["chat", "plain"]:
        return self.artefact.summary["render"]

    def examples(self, split: Split) -> list[Example]:
        """The examples of a split, in the order of the source."""
        with (self.artefact.path / f"{split}.jsonl").open(encoding="utf-8") as file:
            return [example_from_json(json.loads(line)) for line in file]


def prepare_dataset(workspace: Workspace, source: str, recipe: PrepareRecipe, progress: Progress) -> Dataset:
    """The dataset of a file of rows, made once; a dataset's folder or reference is returned as it is.

    Bad rows go to `quarantine.jsonl` with number, field and reason. Raises Refusal if nothing is left.
    """
    if existing := _existing(workspace, source):
        _require_same_options(existing, source, recipe)
        return existing
    path = user_path(source)
    if recipe.validation + recipe.test >= 1:
        raise Refusal("prepare.validation and prepare.test leave nothing to train on; their sum must be below 1.")
    for row in read_rows(path):  # raises for an unreadable file before anything is made
        del row
        break
    made_by = {"format": FORMAT, "file": workspace.digest(path), "prepare": recipe.model_dump()}

    def build(draft: Draft) -> None:
        progress.say(f"preparing {path}")
        counts, bad = _write_splits(path, recipe, draft.path)
        for row in bad[:_SHOWN]:
            progress.say(f"{row.sentence(path)}; the row is in quarantine")
        if len(bad) > _SHOWN:
            progress.say(f"{len(bad) - _SHOWN} more rows are in quarantine")
        kept = sum(counts.values())
        if not counts["train"]:
            raise Refusal(_nothing_left(path, bad, kept))
        draft.summary.update(
            rows={"read": kept + len(bad), "kept": kept, "quarantined": len(bad)},
            splits=counts,
            source=path.name,
            **recipe.model_dump(),
        )

    return Dataset(workspace.make("dataset", made_by, build, name=path.name, on_wait=progress.say))


def split_of(example: Example, recipe: PrepareRecipe) -> Split:
    """The split of an example: a function of its content and the seed, whatever other rows there are."""
    digest = hashlib.sha256(f"{recipe.seed}:{example.id}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    if place < recipe.test:
        return "test"
    return "validation" if place < recipe.test + recipe.validation else "train"


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


def _existing(workspace: Workspace, source: str) -> Dataset | None:
    folder = user_path(source)
    if source.startswith("dataset/") and not folder.exists():
        return Dataset(workspace.get(source))
    if not (folder / RECORD).is_file():
        return None
    if _recorded_kind(folder) != "dataset":
        raise Refusal(f"{source} is no prepared dataset; give a data file or what `carrara prepare -o` wrote.")
    return Dataset(workspace.adopt(folder))


def _require_same_options(dataset: Dataset, source: str, recipe: PrepareRecipe) -> None:
    """Refuse options that a prepared dataset can no longer follow."""
    for key, value in recipe.model_dump().items():
        made_with = dataset.artefact.summary.get(key)
        if value not in (made_with, PrepareRecipe.model_fields[key].default):
            raise Refusal(f"{source} was prepared with {key} {made_with}, not {value}; prepare the rows anew.")


def _write_splits(path: Path, recipe: PrepareRecipe, folder: Path) -> tuple[dict[Split, int], list[BadRow]]:
    counts = dict.fromkeys(SPLITS, 0)
    bad: list[BadRow] = []
    files = {split: (folder / f"{split}.jsonl").open("w", encoding="utf-8") for split in SPLITS}
    try:
        for row in read_rows(path):
            if isinstance(row, BadRow):
                bad.append(row)
                continue
            split = split_of(row, recipe)
            counts[split] += 1
            files[split].write(json.dumps(row.to_json(), ensure_ascii=False) + "\n")
    finally:
        for file in files.values():
            file.close()
    with (folder / QUARANTINE).open("w", encoding="utf-8", errors="replace") as file:
        for row in bad:
            value = {"row": row.row, "field": row.field, "reason": row.reason, "text": row.text}
            file.write(json.dumps(value, ensure_ascii=True) + "\n")
    return counts, bad


def _nothing_left(path: Path, bad: list[BadRow], kept: int) -> str:
    if kept:
        return (
            f"{path} leaves no row for training ({kept} kept); add rows or lower prepare.test and prepare.validation."
        )
    first = bad[0].sentence(path) if bad else f"{path} holds only blank lines"
    return f"no row of {path} can be used; the first reason: {first}."
