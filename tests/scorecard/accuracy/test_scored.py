"""What was scored here stands in the card with intervals, and the word of a verdict where two were compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from carrara.evaluate.run import evaluate_model
from carrara.evaluate.scores import Record
from carrara.models import Model, read_catalogue, resolve_model
from carrara.models.adapters import load_together
from carrara.progress import Silent
from carrara.recipe import CostRecipe, EvaluateRecipe
from carrara.scorecard.accuracy import measure, terms
from carrara.scorecard.accuracy.interval import resampled, value_and_interval
from carrara.scorecard.figure import Figure, figure_from_json
from carrara.scorecard.subject import Pair, Subject
from carrara.verdict.measures import ACC, LOSS
from carrara.verdict.stage import compare_scores
from carrara.workspace import Workspace
from tests.tiny import one_thread, write_tiny_model

_TASK = {"name": "mood", "data": "mood.csv", "question": "{text}", "answer": "label"}


def _record(row: int, *, right: bool = True, loss: float = 1.0, cluster: str = "") -> Record:
    return Record(
        task="heldout",
        item=row,
        id=str(row),
        question="",
        choices=["yes", "no"],
        prompt_sha256="",
        value=loss,
        correct=right,
        tokens=2,
        bytes=4,
        seconds=0.0,
        cluster=cluster,
    )


def test_a_share_keeps_a_width_when_all_are_right() -> None:
    value, interval = value_and_interval([_record(row) for row in range(50)], ACC)
    assert value == 100
    assert interval is not None
    assert (round(interval[0], 1), interval[1]) == (92.9, 100)


def test_a_share_ends_at_its_ends() -> None:
    """Clusters of which all but one are right: drawn anew, the interval would go over 100 %."""
    records = [_record(row, right=row > 1, cluster=str(row // 2)) for row in range(60)]
    value, interval = value_and_interval(records, ACC)
    assert interval is not None
    assert 85 < interval[0] < value < interval[1] <= 100
    losses = [_record(row, loss=40.0 if row == 0 else 0.001, cluster=str(row // 2)) for row in range(60)]
    value, interval = value_and_interval(losses, LOSS)
    assert interval is not None
    assert 0 <= interval[0] < value < interval[1]


def test_rows_that_share_a_prompt_count_as_one_draw() -> None:
    random = np.random.default_rng(0)
    losses = random.normal(4, 1, 40)
    alone = [_record(row, loss=loss) for row, loss in enumerate(losses)]
    thrice = [_record(row, loss=loss, cluster=str(row)) for row, loss in enumerate(losses) for _ in range(3)]
    once, again = value_and_interval(alone, LOSS), value_and_interval(thrice, LOSS)
    assert once[0] == pytest.approx(again[0])
    assert once[1] == pytest.approx(again[1], rel=0.05)
    assert resampled(thrice, lambda records: float(len(records))) == (120, 120)
    assert value_and_interval(thrice[:3], LOSS)[1] is None


_SHARE = "mood acc of 24 items, lm-eval-0.4"


@pytest.fixture
def pair(workspace: Workspace, tmp_path: Path, tiny_model: Model) -> tuple[Model, Model]:
    """Two models that were scored on a task, and compared."""
    rows = [("fine", "good"), ("dull", "bad"), ("so so", "fair")] * 8
    (tmp_path / "mood.csv").write_text(
        "text,label\n" + "".join(f"{text} {n},{label}\n" for n, (text, label) in enumerate(rows))
    )
    task = tmp_path / "mood.yaml"
    task.write_text(yaml.safe_dump(_TASK), encoding="utf-8")
    other = resolve_model(workspace, str(write_tiny_model(tmp_path / "other", seed=1)), Silent())
    with one_thread():
        paths = [
            evaluate_model(workspace, each, EvaluateRecipe(tasks=(str(task),)), Silent()).path
            for each in (tiny_model, other)
        ]
    compare_scores(workspace, paths[0], paths[1], 1.5, (), Silent())
    return tiny_model, other


def test_scores_and_verdict_stand_in_the_card(workspace: Workspace, pair: tuple[Model, Model]) -> None:
    base, tuned = pair
    subject = Subject(workspace, tuned, base, None, None, CostRecipe(), Silent())
    loaded = load_together([tuned, base], "float32")
    figures = measure(subject, lambda: Pair(loaded[0], loaded[1]))
    found = {figure.measure: figure for figure in figures}
    assert {_SHARE, f"{_SHARE} (base)", "mood against its base", "against its base"} <= {*found}
    share, word = found[_SHARE], found["mood against its base"]
    assert isinstance(share.value, float)
    assert share.interval is not None
    assert share.interval[0] < share.value < share.interval[1]
    assert "24 items" in share.source
    assert "guessing gets 33" in share.meaning
    assert word.value in ("better", "worse", "no worse", "can't tell")
    assert found["arc (base)"].kind == found["held-out loss"].kind == "unknown"
    assert [_again(figure) for figure in figures] == figures


def test_what_is_published_of_the_base_is_no_score_of_an_adapter_from_elsewhere(
    workspace: Workspace, pair: tuple[Model, Model]
) -> None:
    entry = read_catalogue()["smollm2-135m-instruct"]
    alone = Subject(workspace, pair[0], None, entry, None, CostRecipe(), Silent())
    names = []
    for model in (pair[0], replace(pair[0], adapter_digest="0" * 64)):
        figures = measure(replace(alone, model=model), lambda: pytest.fail("nothing is loaded"))
        names.append([each.measure for each in figures if each.kind == "published"])
    assert names[1] == [f"{name} (base)" for name in names[0]] != []


def _again(figure: Figure) -> Figure:
    return figure_from_json(json.loads(json.dumps(figure.to_json())))


def test_new_scores_make_another_card(workspace: Workspace, pair: tuple[Model, Model]) -> None:
    _, tuned = pair
    alone = Subject(workspace, tuned, None, None, None, CostRecipe(), Silent())
    assert len(terms(alone)["scores"]) == 1
    assert terms(alone)["verdict"] is None
    stranger = Subject(Workspace(workspace.root / "other"), tuned, None, None, None, CostRecipe(), Silent())
    assert terms(stranger)["scores"] == []
    assert terms(stranger) != terms(alone)
