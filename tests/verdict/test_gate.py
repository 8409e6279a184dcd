"""Rules over verdicts."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.errors import Refusal
from carrara.recipe import GateRule, gate_rules, make_recipe
from carrara.verdict.compare import Verdict, compare
from carrara.verdict.gate import check_gate

from .invented import answers, flips, scores, texts


def _verdict() -> Verdict:
    generator = np.random.default_rng(0)
    arc, mmlu = flips("arc_easy", 1000, 60, 20), flips("mmlu", 1000, 20, 22)
    base = scores(arc[0], mmlu[0], texts("heldout", [20.0] * 100))
    return compare(base, scores(arc[1], mmlu[1], texts("heldout", 20.0 + generator.normal(0.1, 0.2, 100))))


def test_better_needs_the_verdict_better() -> None:
    results = check_gate(
        _verdict(), [GateRule(task="arc_easy", require="better"), GateRule(task="mmlu", require="better")]
    )
    assert [result.passed for result in results] == [True, False]
    assert results[0].sentence.startswith("arc_easy acc must be better: the verdict is better (adjusted p = ")
    assert "the verdict is can't tell" in results[1].sentence


def test_no_worse_uses_the_margin_of_the_rule() -> None:
    rules = [GateRule(task="mmlu", margin=margin) for margin in (1.0, 3.0)]
    results = check_gate(_verdict(), rules)
    assert [result.passed for result in results] == [False, True]
    assert results[0].rule is rules[0]
    assert "must lose less than 1 points: the 95 % interval allows a loss of up to 1.5" in results[0].sentence


def test_no_worse_of_a_loss_is_in_percent_of_the_base_value() -> None:
    results = check_gate(_verdict(), [GateRule(task="heldout", margin=0.1), GateRule(task="heldout", margin=1.5)])
    assert [result.passed for result in results] == [False, True]
    assert "% of the base value" in results[0].sentence


def test_a_gain_is_no_worse_even_without_a_margin() -> None:
    result = check_gate(_verdict(), [GateRule(task="arc_easy", margin=0)])[0]
    assert result.passed
    assert "shows a gain of at least 2." in result.sentence


def test_what_was_not_measured_fails() -> None:
    results = check_gate(_verdict(), [GateRule(task="winogrande"), GateRule(task="mmlu", metric="acc_norm")])
    assert [result.passed for result in results] == [False, False]
    assert results[0].sentence.startswith("winogrande was not measured for both models (arc_easy acc, mmlu acc")
    assert results[1].sentence.startswith("mmlu acc_norm was not measured")


def test_metric_is_acc_norm_for_arc_unless_named() -> None:
    same, right = [False] * 100, [True] * 100
    verdict = compare(scores(answers("arc_easy", same, same)), scores(answers("arc_easy", same, right)))
    rules = [GateRule(task="arc_easy", require="better", metric=metric) for metric in (None, "acc_norm", "acc")]
    assert [result.passed for result in check_gate(verdict, rules)] == [True, True, False]


def test_a_secondary_metric_is_judged_by_its_own_p() -> None:
    same, right = [False] * 100, [True] * 100
    verdict = compare(scores(answers("mmlu", same, same)), scores(answers("mmlu", same, right)))
    result = check_gate(verdict, [GateRule(task="mmlu", metric="acc_norm", require="better")])[0]
    assert result.passed
    assert "the verdict is better (p = " in result.sentence


def test_a_sentence_is_rules() -> None:
    rules = gate_rules(
        "must improve support_intent; no worse than 1.5 points on arc_challenge, hellaswag,\n truthfulqa_mc2"
    )
    assert rules == (
        GateRule(task="support_intent", require="better"),
        *(GateRule(task=task, margin=1.5) for task in ("arc_challenge", "hellaswag", "truthfulqa_mc2")),
    )


def test_a_sentence_may_name_metrics_and_several_tasks() -> None:
    rules = gate_rules("Must improve heldout bits_per_byte, mmlu ;no worse than 1 point on arc_easy acc;")
    assert rules == (
        GateRule(task="heldout", metric="bits_per_byte", require="better"),
        GateRule(task="mmlu", require="better"),
        GateRule(task="arc_easy", metric="acc", margin=1.0),
    )


@pytest.mark.parametrize(
    "sentence",
    [
        "",
        ";",
        "must improve",
        "must improve mmlu,",
        "must improve mmlu acc norm",
        "must not improve mmlu",
        "no worse than points on mmlu",
        "no worse than -1 points on mmlu",
        "no worse than 1e400 points on mmlu",
        "no worse than 1.5 on mmlu",
        "must improve mmlu; better on arc_easy",
        "must improve mmlu;; must improve arc_easy",
        "gate.json",
        "x" * 5000,
    ],
)
def test_another_sentence_is_refused_and_shown_the_form(sentence: str) -> None:
    with pytest.raises(Refusal, match=r'"must improve TASK".*"no worse than 1\.5 points on TASK, TASK"'):
        gate_rules(sentence)


@given(sentence=st.text(max_size=60) | st.from_regex(r"(must improve|no worse than \d+ points? on) [a-z ,;.\d]+"))
@settings(max_examples=150)
def test_any_text_is_rules_or_refused(sentence: str) -> None:
    with contextlib.suppress(Refusal):
        assert gate_rules(sentence)


def test_a_recipe_may_hold_sentences_among_its_rules() -> None:
    recipe = make_recipe({"gate": ["must improve heldout; no worse than 2 points on mmlu", {"task": "arc_easy"}]})
    assert [(rule.task, rule.require, rule.margin) for rule in recipe.gate] == [
        ("heldout", "better", 1.5), ("mmlu", "no_worse", 2.0), ("arc_easy", "no_worse", 1.5)
    ]  # fmt: skip
    assert make_recipe({"gate": "must improve heldout"}).gate == gate_rules("must improve heldout")
    assert make_recipe(recipe.model_dump()) == recipe
    with pytest.raises(Refusal, match="the gate 'must be nicer' is no list of rules"):
        make_recipe({"gate": ["must be nicer"]})
