"""A user's own task in a few lines: read, asked, judged; whatever is wrong is a sentence with file, row and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from carrara.errors import Refusal
from carrara.evaluate.own_task import read_own_task
from carrara.evaluate.run import evaluate_model
from carrara.models import Model
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe
from carrara.workspace import Workspace

MOOD = {"name": "mood", "data": "mood.csv", "question": "Review: {text}\nMood:", "answer": "label"}
QUIZ = {"name": "quiz", "data": "quiz.jsonl", "question": "{q}", "answer": "right", "choices": "options"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [("fine", "good"), ("dull, long", "bad"), ("so so", "fair")] * 5
    (tmp_path / "mood.csv").write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows))
    quiz = [{"q": f"{n}?", "options": ["yes", "no", "maybe"], "right": right} for n, right in enumerate(["no", "A", 2])]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in quiz))
    return tmp_path


def _write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def _items(folder: Path, content: dict[str, Any]) -> list[Any]:
    task = read_own_task(_write(folder, content))
    return task.read(Path(task.file))


def test_a_classification_chooses_among_the_labels_that_occur(folder: Path) -> None:
    items = _items(folder, MOOD)
    assert len(items) == 15
    assert items[1].context == "Review: dull, long\nMood:"
    assert (items[1].choices, items[1].gold, items[1].id) == (("bad", "fair", "good"), 0, "3")
    assert _items(folder, MOOD | {"labels": ["good", "fair", "bad"]})[1].gold == 2


def test_choices_are_a_list_or_columns_and_the_answer_a_text_a_number_or_a_letter(folder: Path) -> None:
    assert [item.gold for item in _items(folder, QUIZ)] == [1, 0, 2]
    rows = [{"q": "?", "a": "x", "b": "y", "right": "B", "topic": "t", "source": "s"}]
    (folder / "quiz.jsonl").write_text(json.dumps(rows[0]) + "\n")
    (item,) = _items(folder, QUIZ | {"choices": ["a", "b"], "category": "topic", "cluster": "source"})
    assert (item.choices, item.gold, item.category, item.cluster) == (("x", "y"), 1, "t", "s")


def test_it_is_scored_beside_benchmarks_with_its_own_figures(
    workspace: Workspace, tiny_model: Model, folder: Path
) -> None:
    path = _write(folder, MOOD | {"examples": "mood.csv", "shots": 2})
    evaluation = evaluate_model(workspace, tiny_model, EvaluateRecipe(tasks=(str(path),)), Silent())
    found = {figure.metric: figure for figure in evaluation.figures}
    assert {"acc", "macro_f1", "balanced_accuracy", "brier", "ece"} <= found.keys()
    assert found["acc"].n == 15
    own = evaluation.scores.receipt["tasks"]["mood"]
    assert (own["file"], own["shots"], own["of"]) == ("mood.csv", 2, 15)
    assert str(folder) not in json.dumps(evaluation.scores.receipt)  # receipts travel
    path.write_text(yaml.safe_dump(MOOD | {"question": "{text}"}))
    other = evaluate_model(workspace, tiny_model, EvaluateRecipe(tasks=(str(path),)), Silent())
    assert other.artefact.id != evaluation.artefact.id


def test_a_written_answer_is_a_label_or_any_text(folder: Path) -> None:
    item = _items(folder, MOOD | {"answers": "written"})[1]
    assert (item.choices, item.labels) == (("bad",), (1,))
    assert _items(folder, MOOD | {"answers": "written", "labels": ["good", "bad", "fair"]})[1].gold == 1
    labelled = read_own_task(_write(folder, MOOD | {"answers": "written", "labels": ["good", "bad"]}))
    assert (labelled.kind, labelled.judge, labelled.max_tokens, labelled.is_chat) == ("text", "label", 64, True)
    free = read_own_task(_write(folder, MOOD | {"answers": "written", "max_tokens": 9, "chat": False}))
    assert (free.kind, free.judge, free.max_tokens, free.is_chat) == ("text", "likeness", 9, False)
    assert (free.metrics[0], labelled.metrics[-1]) == ("chrf", "none")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"nmae": "x"}, r"unknown key 'nmae' \(known here: name, data, question"),
        ({"question": None}, "key 'question'"),
        ({"name": "Arc Easy"}, "key 'name'"),
        ({"name": "arc_easy"}, "'arc_easy' is a task that exists"),
        ({"name": "heldout_answers"}, "'heldout_answers' is a task that exists"),
        ({"answers": "spoken"}, "key 'answers'"),
        ({"answers": "written", "max_tokens": 0}, "key 'max_tokens'"),
        ({"answers": "written", "choices": ["text", "label"]}, "key 'choices': a written answer is no choice"),
        ({"shots": 3}, "key 'shots': there are no examples"),
        ({"question": "{body}"}, r"mood\.csv, row 2, field 'body': is missing; the row has text, label"),
        ({"answer": "mood"}, r"mood\.csv, row 2, field 'mood': is missing"),
        ({"labels": ["good", "bad"]}, r"row 4, field 'label': 'fair' is none of the labels good, bad"),
        ({"data": "none.csv"}, r"none\.csv"),
        ({"data": "task.yaml"}, "is no file of rows"),
        ({"choices": "text"}, "is no list of choices"),
        ({"choices": ["text", "label"], "answer": "text", "question": "?"}, "at least two choices"),
    ],
)
def test_whatever_is_wrong_is_a_sentence(folder: Path, change: dict[str, Any], sentence: str) -> None:
    if isinstance(change.get("choices"), list):
        (folder / "mood.csv").write_text('text,label\na,""\n')
    with pytest.raises(Refusal, match=sentence):
        _items(folder, {key: value for key, value in (MOOD | change).items() if value is not None})


def test_a_row_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "quiz.jsonl").write_text('{"q": "?", "options": ["a", "b"], "right": 0}\n{"q": "tor')
    with pytest.raises(Refusal, match=r"quiz\.jsonl, row 2: "):
        _items(folder, QUIZ)


def test_a_task_file_that_is_wrong_does_not_cost_the_others(
    workspace: Workspace, tiny_model: Model, folder: Path
) -> None:
    good = _write(folder, MOOD)
    recipe = EvaluateRecipe(tasks=(str(folder / "none.yaml"), str(good)))
    evaluation = evaluate_model(workspace, tiny_model, recipe, Silent())
    assert evaluation.scores.tasks() == ["mood"]
    assert "does not exist" in next(iter(evaluation.missing.values()))
