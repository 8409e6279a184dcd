"""Rules over verdicts."""

from __future__ import annotations

import numpy as np

from carrara.recipe import GateRule
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
