"""`carrara compare --gate`: a sentence or a recipe decides the exit code."""

from __future__ import annotations

import pytest

from tests.cli.calling import call
from tests.cli.ground import Ground


def test_a_sentence_decides_the_exit_code(ground: Ground) -> None:
    met = call(
        ground.workspace, "compare", ground.scores, ground.scores, "--gate", "no worse than 100 points on arc_easy"
    )
    assert met.code == 0
    assert "gate      met: arc_easy acc_norm must lose less than 100 points" in met.out
    failed = call(ground.workspace, "compare", ground.scores, ground.scores, "--gate", "must improve arc_easy acc, x")
    assert failed.code == 1
    assert "arc_easy acc must be better: the verdict is" in failed.sentence
    assert "x was not measured for both models" in failed.sentence


def test_secondary_metrics_are_marked(ground: Ground) -> None:
    rows = call(ground.workspace, "compare", ground.scores, ground.scores, "--json").json["verdicts"]
    arc = [(row["metric"], row["primary"], row["unit"]) for row in rows if row["task"] == "arc_easy"]
    assert arc == [
        ("acc_norm", True, "points"),
        ("acc", False, "points"),
        ("gold_bits_per_byte", False, "bits per byte"),
        ("gold_probability", False, "points"),
    ]
    assert all({"clusters", "detectable"} <= row.keys() for row in rows)
    assert "gold_probability (secondary)" in call(ground.workspace, "compare", ground.scores, ground.scores).out


@pytest.mark.parametrize("gate", ["must be nicer", "", "no-such-recipe", "must improve " + "x" * 300 + " y z"])
def test_another_sentence_is_refused_with_the_form(ground: Ground, gate: str) -> None:
    sentence = ground.refusal("compare", ground.scores, ground.scores, "--gate", gate)
    assert f"the gate '{gate}' is no list of rules" in sentence
    assert '"no worse than 1.5 points on TASK, TASK"' in sentence


def test_a_recipe_may_gate_in_words_but_must_gate(ground: Ground) -> None:
    recipe = ground.recipe(gate=["must improve arc_easy"])
    assert call(ground.workspace, "compare", ground.scores, ground.scores, "--gate", recipe).code == 1
    empty = ground.recipe(gate=[])
    assert "has no gate" in ground.refusal("compare", ground.scores, ground.scores, "--gate", empty)
    assert "the gate 'must be nicer' is no list of rules" in ground.refusal(
        "tune", ground.recipe(gate=["must be nicer"])
    )
