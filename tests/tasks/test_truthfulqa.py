"""TruthfulQA's second file: categories and sources by the text of the question, where it can be had."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.tasks import BENCHMARKS
from carrara.tasks.rows import write_rows
from carrara.tasks.sources import find_benchmark, find_notes, read_task
from carrara.tasks.task import Item
from carrara.workspace import Workspace
from tests.tasks.rows import TRUTHFULQA

TASK = BENCHMARKS["truthfulqa_mc2"]
NOTES = [
    {"Type": "x", "Category": "Law", "Question": "Is it not?", "Source": "https://b"},
    {"Type": "x", "Category": "Health", "Question": "Is it? ", "Source": "https://a"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "truthfulqa").mkdir()
    write_rows(tmp_path / TASK.file, [TRUTHFULQA, TRUTHFULQA | {"question": "Is what?"}])
    return tmp_path


def _items(workspace: Workspace, folder: Path, task: str = "truthfulqa_mc2") -> list[Item]:
    file = find_benchmark(workspace, TASK.file, folder, Silent())
    return read_task(BENCHMARKS[task], file, find_notes(workspace, BENCHMARKS[task], folder, Silent()))


def test_notes_are_found_by_the_question_whatever_their_order(workspace: Workspace, folder: Path) -> None:
    assert TASK.notes_file is not None
    write_rows(folder / TASK.notes_file, NOTES)
    first, second = _items(workspace, folder)
    assert (first.category, first.cluster) == ("Health", "https://a")
    assert (second.category, second.cluster) == ("", "")


def test_without_notes_the_questions_are_asked_without_category(workspace: Workspace, folder: Path) -> None:
    assert find_notes(workspace, TASK, folder, Silent()) is None
    assert [item.category for item in _items(workspace, folder)] == ["", ""]


def test_a_task_without_notes_has_none(workspace: Workspace, folder: Path) -> None:
    assert find_notes(workspace, BENCHMARKS["arc_easy"], folder, Silent()) is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("Question,Source\nIs it?,x\n", "row 2, field Category: it is missing"),
        ("Category,Source,Question\nx,y,Other?\n", "it holds none of the questions"),
        ("Category,Source\nx,y\n", "row 2, field Question: it is missing"),
        ("", "is empty"),
    ],
)
def test_damaged_notes_are_refused(workspace: Workspace, folder: Path, content: str, sentence: str) -> None:
    assert TASK.notes_file is not None
    (folder / TASK.notes_file).write_text(content)
    with pytest.raises(Refusal, match=rf"TruthfulQA\.csv.*{sentence}"):
        _items(workspace, folder)


@pytest.mark.parametrize("task", ["truthfulqa_mc1", "truthfulqa_mc2"])
def test_every_real_question_has_its_category_and_source(
    workspace: Workspace, benchmark_folder: Path, task: str
) -> None:
    items = _items(workspace, benchmark_folder, task)
    categories = Counter(item.category for item in items)
    assert len(categories) == 38
    assert categories.most_common(2) == [("Misconceptions", 100), ("Law", 64)]
    assert len({item.cluster for item in items}) == 594
    assert all(item.category and item.cluster for item in items)
    assert items[0].question.startswith("What is the smallest country in the world")
    assert items[0].category == "Distraction"
