"""What held-out rows say of a model: the same loss as `evaluate` has, labels among all labels, nothing without rows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.evaluate.heldout import heldout_rows
from carrara.evaluate.scorer import Scorer
from carrara.evaluate.scores import Record
from carrara.models import Model
from carrara.models.adapters import Adapted, load_together
from carrara.models.load import load_model
from carrara.progress import Silent
from carrara.recipe import CostRecipe, PrepareRecipe
from carrara.scorecard.accuracy.baseline import _labels, baseline
from carrara.scorecard.accuracy.heldout import MOST_ROWS, held_out_rows, judge
from carrara.scorecard.figure import Figure
from carrara.scorecard.subject import Pair, Subject
from carrara.workspace import Workspace
from tests.tiny import one_thread, prepared, write_pairs

_LABELS = ("no", "perhaps", "yes")


def write_labelled(path: Path, count: int = 150) -> Path:
    """Rows whose answers are three labels, the last far commoner."""
    rows = [{"prompt": f"Is {n * 7919} so?", "completion": _LABELS[min(n % 5, 2)]} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _write_scored(path: Path, count: int) -> Path:
    """Pairs of sentences with seven scores."""
    rows = [
        f"The {n} cats sat.,{'The' if n % 2 else 'No'} {n} dogs {'sat' * (n % 3)}.,{n % 7 / 2}" for n in range(count)
    ]
    path.write_text("sentence1,sentence2,score\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


_RIGHT = Record(
    task="heldout",
    item=0,
    id="0",
    question="",
    choices=["no", "yes"],
    prompt_sha256="",
    gold=1,
    prediction=1,
    value=0.1,
    correct=True,
    tokens=2,
    bytes=4,
    seconds=0.0,
)


@pytest.fixture
def labelled(workspace: Workspace, tmp_path: Path) -> Dataset:
    return prepared(workspace, write_labelled(tmp_path / "labels.jsonl"), PrepareRecipe(test=0.3))


@pytest.fixture
def free(workspace: Workspace, tmp_path: Path) -> Dataset:
    return prepared(workspace, write_pairs(tmp_path / "pairs.jsonl", 60), PrepareRecipe(test=0.3))


def _pair(model: Model) -> Pair:
    return Pair(load_together([model], "float32")[0], None)


def _subject(workspace: Workspace, dataset: Dataset | None, model: Model) -> Subject:
    return Subject(workspace, model, None, None, dataset, CostRecipe(), Silent())


def _figures(workspace: Workspace, dataset: Dataset | None, model: Model) -> dict[str, Figure]:
    with one_thread():
        figures = baseline(_subject(workspace, dataset, model), lambda: _pair(model))
    return {figure.measure: figure for figure in figures}


def test_labels_are_found_and_free_answers_are_none(labelled: Dataset, free: Dataset) -> None:
    assert held_out_rows(labelled, 0).labels == _LABELS
    assert held_out_rows(free, 0).labels == ()


def test_the_loss_is_that_of_evaluate(free: Dataset, tiny_model: Model) -> None:
    loaded, asked = load_model(tiny_model, "float32"), held_out_rows(free, 0)
    assert len(asked.examples) == free.artefact.summary["splits"]["test"] < MOST_ROWS
    with one_thread():
        records = judge(loaded, asked, Silent())
        for record, row in zip(records, heldout_rows(loaded, free, Silent()), strict=True):
            expected = row.record([scored for scored in Scorer(loaded).score(row.rows) if scored])
            assert record.value == pytest.approx(expected.value, rel=1e-4)
            assert (record.tokens, record.bytes) == (expected.tokens, expected.bytes)


def test_a_label_is_scored_as_if_it_stood_alone(labelled: Dataset, tiny_model: Model) -> None:
    loaded, asked = load_model(tiny_model, "float32"), held_out_rows(labelled, 0)
    with one_thread():
        together, alone = judge(loaded, asked, Silent()), judge(loaded, replace(asked, labels=()), Silent())
    for one, other, example in zip(together, alone, asked.examples, strict=True):
        assert one.choices[one.gold or 0] == example.answer
        assert one.value == pytest.approx(other.value, rel=1e-4)
        assert one.correct == (one.loglikelihoods[one.gold or 0] == max(one.loglikelihoods))


def test_figures_of_a_classification(workspace: Workspace, labelled: Dataset, tiny_model: Model) -> None:
    found = _figures(workspace, labelled, tiny_model)
    assert list(found) == [
        "held-out loss",
        "held-out perplexity",
        "held-out bits per byte",
        "held-out accuracy",
        "held-out macro-F1",
    ]
    assert [figure.better for figure in found.values()] == [None, None, "lower", "higher", "higher"]  # by tokens: none
    loss, accuracy = found["held-out loss"].value, found["held-out accuracy"]
    assert isinstance(loss, float)
    assert found["held-out perplexity"].value == pytest.approx(math.exp(loss))
    for figure in found.values():
        assert isinstance(figure.value, float)
        assert figure.interval is not None
        assert figure.interval[0] <= figure.value <= figure.interval[1]
        assert figure.meaning
    assert accuracy.interval is not None
    assert accuracy.interval[1] - accuracy.interval[0] > 5  # also where all are alike


def test_where_all_are_right_the_f1_keeps_a_width() -> None:
    records = [replace(_RIGHT, item=row, id=str(row)) for row in range(40)]
    accuracy, even = (each for each in _labels(records, "", "how"))
    assert (accuracy.value, even.value) == (100, 100)
    assert even.interval == accuracy.interval
    assert even.interval is not None
    assert 90 < even.interval[0] < 92


def test_a_few_pairs_are_not_ranked(workspace: Workspace, tmp_path: Path, tiny_model: Model) -> None:
    data = prepared(workspace, _write_scored(tmp_path / "few.csv", 20), PrepareRecipe(test=0.3))
    found = _figures(workspace, data, tiny_model)["held-out Spearman"]
    assert found.kind == "unknown"
    assert found.source.endswith("held-out pairs are too few to rank; hold out 10 or more")


def test_figures_of_free_answers(workspace: Workspace, free: Dataset, tiny_model: Model) -> None:
    found = _figures(workspace, free, tiny_model)
    assert list(found)[-1] == "held-out chrF"
    value = found["held-out chrF"].value
    assert isinstance(value, float)
    assert 0 <= value <= 100


def test_figures_of_pairs(workspace: Workspace, tmp_path: Path, tiny_model: Model) -> None:
    path = _write_scored(tmp_path / "pairs.csv", 60)
    found = _figures(workspace, prepared(workspace, path, PrepareRecipe(test=0.4)), tiny_model)
    assert "held-out accuracy" not in found  # seven scores are no labels
    value = found["held-out Spearman"].value
    assert isinstance(value, float)
    assert -1 <= value <= 1


def test_an_equal_base_stands_beside_as_no_change(workspace: Workspace, labelled: Dataset, tiny_model: Model) -> None:
    adapted: Adapted = load_together([tiny_model], "float32")[0]
    with one_thread():
        figures = baseline(_subject(workspace, labelled, tiny_model), lambda: Pair(adapted, adapted))
    found = {figure.measure: figure for figure in figures}
    assert found["held-out loss"].value == found["held-out loss (base)"].value
    assert "No change can be told" in found["held-out loss"].meaning


def test_without_held_out_rows_a_sentence_stands_in_the_card(
    workspace: Workspace, tmp_path: Path, tiny_model: Model
) -> None:
    bare = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"), PrepareRecipe(test=0, validation=0))
    for dataset, word in ((None, "--data"), (bare, "test split is empty")):
        (figure,) = _figures(workspace, dataset, tiny_model).values()
        assert figure.kind == "unknown"
        assert word in figure.source
    with pytest.raises(Refusal, match="test split"):
        held_out_rows(bare, 0)


def test_long_rows_are_fewer(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": f"{n} " + f"word{n} " * 1000, "completion": f"answer {n}"} for n in range(100)]
    path = tmp_path / "long.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = prepared(workspace, path, PrepareRecipe(test=0.5))
    assert len(held_out_rows(dataset, 0).examples) == 20 < dataset.artefact.summary["splits"]["test"]


def test_rows_that_were_trained_on_are_no_held_out_rows(
    workspace: Workspace, tmp_path: Path, tiny_model: Model, labelled: Dataset
) -> None:
    run = workspace.make("run", {"of": "a test"}, lambda draft: None, name="run", inputs={"dataset": labelled.artefact})
    other = prepared(workspace, write_labelled(tmp_path / "labels.jsonl"), PrepareRecipe(test=0.5, seed=1))
    (figure,) = _figures(workspace, other, replace(tiny_model, source=run)).values()
    assert figure.kind == "unknown"
    assert "were trained on" in figure.source
