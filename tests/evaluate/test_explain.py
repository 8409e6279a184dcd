"""What separates a score from a protocol: every rule that differs, and the figures that follow all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.evaluate.explain import Difference, Explanation, explain
from carrara.evaluate.protocol import PROTOCOLS
from carrara.evaluate.run import evaluate_model
from carrara.evaluate.scores import Scores
from carrara.evaluate.wanted import FORMAT
from carrara.models import Model
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe
from carrara.workspace import Workspace

LM_EVAL, LEADERBOARD = "lm-eval-0.4", "leaderboard-2023-10"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Questions in the forms of ARC-Challenge and TruthfulQA, some of whose true answers come last."""
    arc = tmp_path / "arc" / "ARC-Challenge"
    arc.mkdir(parents=True)
    for split in ("train", "test"):
        rows = [
            {"id": f"{n}", "question": f"{n}?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
            for n in range(30)
        ]
        (arc / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    truth = [
        {"question": f"{n}?", "mc1_targets": {"a": 1, "b": 0}, "mc2_targets": {"a": 1, "b": 0, "c": n % 2}}
        for n in range(6)
    ]
    (tmp_path / "truthfulqa").mkdir()
    (tmp_path / "truthfulqa" / "mc_task.json").write_text(json.dumps(truth))
    return tmp_path


def _explained(workspace: Workspace, model: Model, folder: Path, against: str, **fields: Any) -> Explanation:
    recipe = EvaluateRecipe(benchmarks=folder, **fields)
    return explain(evaluate_model(workspace, model, recipe, Silent()).scores, PROTOCOLS[against])


def _effects(explanation: Explanation) -> dict[str, str]:
    return {found.rule: found.effect.partition(";")[0] for found in explanation.differences}


def test_scores_of_a_protocol_differ_in_nothing(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    found = _explained(workspace, tiny_model, folder, LM_EVAL, tasks=("arc_challenge", "truthfulqa_mc2"))
    assert found == Explanation([], [])


def test_each_rule_that_differs_is_named_with_what_it_moves(
    workspace: Workspace, tiny_model: Model, folder: Path
) -> None:
    found = _explained(workspace, tiny_model, folder, LEADERBOARD, tasks=("arc_challenge",), shots=2, limit=10)
    assert Difference("arc_challenge", "examples before a question", "2", "25", found.differences[0].effect) in (
        found.differences
    )
    assert _effects(found) == {
        "examples before a question": "moves the score",
        "how examples are drawn": "moves the score",
        "order of the questions": "moves the score",
        "questions asked": "moves the score",
        "special tokens": "moves nothing",  # this tokenizer adds none
    }
    assert found.told == []


def test_what_follows_from_the_same_answers_is_told(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    tasks = ("truthfulqa_mc2",)
    found = _explained(workspace, tiny_model, folder, LEADERBOARD, tasks=tasks)
    assert _effects(found) == {
        "order of the questions": "moves nothing",  # all are asked
        "special tokens": "moves nothing",
        "which answers are true": "moves the score",
    }
    recipe = EvaluateRecipe(benchmarks=folder, tasks=tasks, protocol=LEADERBOARD)
    evaluated = evaluate_model(workspace, tiny_model, recipe, Silent()).figures[0]
    told = {figure.metric: figure.value for figure in found.told}
    assert (evaluated.metric, told["mc2"]) == ("mc2", pytest.approx(evaluated.value, abs=1e-6))
    native = evaluate_model(workspace, tiny_model, recipe.model_copy(update={"protocol": LM_EVAL}), Silent())
    assert abs(told["mc2"] - native.figures[0].value) > 1e-3


def test_scores_of_no_benchmark_have_no_protocol() -> None:
    with pytest.raises(Refusal, match="no benchmark"):
        explain(Scores([], {"format": FORMAT}), PROTOCOLS[LM_EVAL])
    with pytest.raises(Refusal, match="another version"):
        explain(Scores([], {"format": 3}), PROTOCOLS[LM_EVAL])
