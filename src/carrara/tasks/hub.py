"""Benchmark files from the hub, in the forms that this project reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.models.fetch import hub_errors
from carrara.progress import Progress
from carrara.tasks.rows import Row, read_rows, write_rows
from carrara.workspace import Artefact, Draft, Workspace

FORMAT = 2  # raised when the same dataset would give other rows

Convert = Callable[[Row], Mapping[str, Any]]


def origin_of(name: str) -> dict[str, Any] | None:
    """What determines the artefact of a file that the hub carries; None if it does not carry it."""
    return {"format": FORMAT, "source": f"hub:{_HUB[name].dataset}", "file": name} if name in _HUB else None


def fetch(workspace: Workspace, name: str, progress: Progress) -> Artefact | None:
    """The artefact of a file that the hub carries, else None; raises Refusal if it cannot be had or is another."""
    origin = origin_of(name)
    if origin is None:
        return None
    place = _HUB[name]

    def build(draft: Draft) -> None:
        progress.say(f"fetching {place.file} of {place.dataset} from the hub")
        fetched = _download(place, draft.path / "fetched")
        write_rows(draft.path / Path(name).name, _converted(place, fetched))
        shutil.rmtree(draft.path / "fetched")

    return workspace.make("benchmark", origin, build, name=name, on_wait=progress.say)


def _same(row: Row) -> Mapping[str, Any]:
    return row.fields


def _truthfulqa(row: Row) -> Mapping[str, Any]:
    """The answers and their labels as the authors' file has them, where each answer is the name of its label."""
    targets = {key: _targets(row.part(key)) for key in ("mc1_targets", "mc2_targets")}
    return {"question": row.text("question"), **targets}


def _targets(part: Row) -> dict[str, int]:
    choices, labels = part.texts("choices"), part.fields.get("labels")
    if not isinstance(labels, list) or len(labels) != len(choices):
        raise part.wrong("labels", f"there must be one for each of the {len(choices)} choices")
    if twice := [choice for choice in choices if choices.count(choice) > 1]:
        raise part.wrong("choices", f"'{twice[0]}' stands there twice")
    return dict(zip(choices, labels, strict=True))


def _truthfulqa_table(row: Row) -> Mapping[str, Any]:
    """The columns of the authors' table, where semicolons part the answers."""
    return {
        "Category": row.text("category"),
        "Question": row.text("question"),
        "Correct Answers": "; ".join(row.texts("correct_answers")),
        "Incorrect Answers": "; ".join(row.texts("incorrect_answers")),
        "Source": row.text("source"),
    }


def _stsb(row: Row) -> Mapping[str, Any]:
    """A pair with its score as people gave it, which the hub keeps in single precision."""
    score = round(row.amount("similarity_score"), 3)
    return {"sentence1": row.text("sentence1"), "sentence2": row.text("sentence2"), "score": score}


@dataclass(frozen=True)
class _Place:
    """A file of a dataset on the hub, and how its rows become ours."""

    dataset: str
    file: str
    convert: Convert = _same


_HUB = {
    "arc/ARC-Easy/test.jsonl": _Place("allenai/ai2_arc", "ARC-Easy/test-00000-of-00001.parquet"),
    "arc/ARC-Easy/train.jsonl": _Place("allenai/ai2_arc", "ARC-Easy/train-00000-of-00001.parquet"),
    "arc/ARC-Challenge/test.jsonl": _Place("allenai/ai2_arc", "ARC-Challenge/test-00000-of-00001.parquet"),
    "arc/ARC-Challenge/train.jsonl": _Place("allenai/ai2_arc", "ARC-Challenge/train-00000-of-00001.parquet"),
    "hellaswag/hellaswag_val.jsonl": _Place("Rowan/hellaswag", "data/validation-00000-of-00001.parquet"),
    "mmlu/test.jsonl": _Place("cais/mmlu", "all/test-00000-of-00001.parquet"),
    "mmlu/dev.jsonl": _Place("cais/mmlu", "all/dev-00000-of-00001.parquet"),
    "winogrande/validation.jsonl": _Place("allenai/winogrande", "winogrande_xl/validation-00000-of-00001.parquet"),
    "winogrande/train.jsonl": _Place("allenai/winogrande", "winogrande_xl/train-00000-of-00001.parquet"),
    "stsb/stsb-en-test.csv": _Place("PhilipMay/stsb_multi_mt", "en/test-00000-of-00001.parquet", _stsb),
    "truthfulqa/mc_task.json": _Place(
        "truthfulqa/truthful_qa", "multiple_choice/validation-00000-of-00001.parquet", _truthfulqa
    ),
    "truthfulqa/TruthfulQA.csv": _Place(
        "truthfulqa/truthful_qa", "generation/validation-00000-of-00001.parquet", _truthfulqa_table
    ),
    "ifeval/input_data.jsonl": _Place("google/IFEval", "ifeval_input_data.jsonl"),
}


def _converted(place: _Place, fetched: Path) -> list[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if fetched.suffix == ".jsonl":
            return [place.convert(row) for row in read_rows(fetched)]
        rows = pq.read_table(fetched).to_pylist()
        return [place.convert(Row(number, row)) for number, row in enumerate(rows, 1)]
    except (pa.ArrowException, ValueError) as error:
        raise Refusal(f"{place.file} of {place.dataset} is not in the form expected ({error}).") from error


def _download(place: _Place, folder: Path) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi, hf_hub_download

    endpoint = os.environ.get("HF_ENDPOINT")
    try:  # asked first: without a connection this fails at once, where a download goes on trying
        commit = HfApi(endpoint=endpoint).dataset_info(place.dataset, revision="main").sha
        return Path(hf_hub_download(place.dataset, place.file, repo_type="dataset", revision=commit, local_dir=folder,
                                    endpoint=endpoint))  # fmt: skip
    except hub_errors() as error:
        raise Refusal(
            f"{place.file} of {place.dataset} cannot be fetched from the hub ({type(error).__name__})."
        ) from error
