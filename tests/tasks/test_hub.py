"""The hub's rows in the forms that this project reads: none vanishes on the way."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.tasks import BENCHMARKS
from carrara.tasks.sources import find_benchmark, find_notes, read_task
from carrara.workspace import Workspace
from tests.models.packages import use_index
from tests.models.standin import Hub, run_hub
from tests.tasks.rows import IFEVAL

TASK = BENCHMARKS["truthfulqa_mc2"]
QUESTIONS, NOTES = (f"{config}/validation-00000-of-00001.parquet" for config in ("multiple_choice", "generation"))
TARGETS = {"choices": ["Yes.", "No."], "labels": [1, 0]}
ROW = {"question": "Is it?", "mc1_targets": TARGETS, "mc2_targets": TARGETS}
NOTE = {
    "type": "Adversarial",
    "category": "Law",
    "question": "Is it?",
    "best_answer": "Yes.",
    "correct_answers": ["Yes."],
    "incorrect_answers": ["No."],
    "source": "https://a",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A stand-in for the hub; the package index is empty and no folder of benchmarks is named."""
    monkeypatch.delenv("CARRARA_BENCHMARKS", raising=False)
    use_index(monkeypatch, tmp_path / "index")
    with run_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def _parquet(*rows: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def test_truthfulqa_has_its_category_and_source_from_the_hub(workspace: Workspace, hub: Hub) -> None:
    hub.repositories["datasets/truthfulqa/truthful_qa"] = {QUESTIONS: _parquet(ROW), NOTES: _parquet(NOTE)}
    file = find_benchmark(workspace, TASK.file, None, Silent())
    notes = find_notes(workspace, TASK, None, Silent())
    (item,) = read_task(TASK, file, notes)
    assert (item.labels, item.category, item.cluster) == ((1, 0), "Law", "https://a")
    asked = len(hub.requests)
    assert find_notes(workspace, TASK, None, Silent()) == notes
    assert len(hub.requests) == asked


def test_without_the_notes_on_the_hub_the_questions_are_still_asked(workspace: Workspace, hub: Hub) -> None:
    hub.repositories["datasets/truthfulqa/truthful_qa"] = {QUESTIONS: _parquet(ROW)}
    file = find_benchmark(workspace, TASK.file, None, Silent())
    assert find_notes(workspace, TASK, None, Silent()) is None
    assert [item.category for item in read_task(TASK, file, None)] == [""]


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (
            {"choices": ["Yes.", "Yes."], "labels": [1, 0]},
            r"mc2_targets\.choices: 'Yes\.' stands there twi",
        ),
        (
            {"choices": ["Yes.", "No."], "labels": [1]},
            r"mc2_targets\.labels: there must be one for each of",
        ),
    ],
)
def test_answers_that_would_vanish_are_refused(
    workspace: Workspace, hub: Hub, targets: dict[str, Any], sentence: str
) -> None:
    rows = _parquet(ROW, ROW | {"mc2_targets": targets})
    hub.repositories["datasets/truthfulqa/truthful_qa"] = {QUESTIONS: rows}
    with pytest.raises(Refusal, match=rf"not in the form expected \(row 2, field {sentence}.*--benchmarks"):
        find_benchmark(workspace, TASK.file, None, Silent())
    assert workspace.list("benchmark") == []


def test_written_tasks_come_from_the_hub_too(workspace: Workspace, hub: Hub) -> None:
    """The answers of TruthfulQA's table, and IFEval, whose file there is no table."""
    hub.repositories["datasets/truthfulqa/truthful_qa"] = {
        NOTES: _parquet(NOTE | {"correct_answers": ["Yes.", "It is"]})
    }
    task = BENCHMARKS["truthfulqa_gen"]
    (item,) = task.read(find_benchmark(workspace, task.file, None, Silent()).path)
    assert (item.choices, item.labels) == (("Yes.", "It is.", "I have no comment.", "No."), (1, 1, 1, 0))
    line = json.dumps(IFEVAL).encode() + b"\n"
    hub.repositories["datasets/google/IFEval"] = {"ifeval_input_data.jsonl": line}
    task = BENCHMARKS["ifeval"]
    (item,) = task.read(find_benchmark(workspace, task.file, None, Silent()).path)
    assert (item.id, len(item.instructions)) == ("1000", 2)
    hub.repositories["datasets/google/IFEval"] = {"ifeval_input_data.jsonl": line[:40]}
    with pytest.raises(Refusal, match=r"not in the form expected \(row 1 is no JSON"):
        find_benchmark(Workspace(workspace.root / "other"), task.file, None, Silent())


def test_rows_that_are_ours_already_are_kept_as_they_are(workspace: Workspace, hub: Hub) -> None:
    row = {"sentence": "Ann thanked Bea since _ had helped.", "option1": "Ann", "option2": "Bea", "answer": "2"}
    hub.repositories["datasets/allenai/winogrande"] = {"winogrande_xl/validation-00000-of-00001.parquet": _parquet(row)}
    task = BENCHMARKS["winogrande"]
    found = find_benchmark(workspace, task.file, None, Silent())
    assert found.source == "hub:allenai/winogrande"
    assert [(item.stems, item.gold) for item in task.read(found.path)] == [(("Ann", "Bea"), 1)]
