"""Two score files are compared only where both models were asked the same under the same rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.verdict.pairing import pair, require_same_rules

from .invented import answers, flips

RULES: dict[str, Any] = {
    "protocol": {"name": "lm-eval-0.4", "seed": 1234, "truth_labels": "mask"},
    "dtype": "float32",
    "format": 4,
}


def test_the_same_rules_pass() -> None:
    require_same_rules(RULES, {**RULES, "model_name": "another", "device": "cuda"})
    require_same_rules({}, {})


def test_another_protocol_is_refused() -> None:
    other = {**RULES, "protocol": {"name": "leaderboard-2023-10"}}
    expected = (
        r"different protocols \(lm-eval-0\.4 for the base, leaderboard-2023-10 for the tuned model\); "
        r"evaluate one of them again with the other's --protocol\."
    )
    with pytest.raises(Refusal, match=expected):
        require_same_rules(RULES, other)


def test_a_protocol_that_changed_under_its_name_is_refused() -> None:
    changed = {**RULES, "protocol": {**RULES["protocol"], "seed": 1, "truth_labels": "split_at_first_false"}}
    with pytest.raises(Refusal, match=r"both named lm-eval-0\.4, with another seed, truth_labels"):
        require_same_rules(RULES, changed)


def test_another_number_format_is_refused_with_the_way_out() -> None:
    expected = r"evaluate the tuned model with --dtype float32 or the base with --dtype bfloat16\."
    with pytest.raises(Refusal, match=expected):
        require_same_rules(RULES, {**RULES, "dtype": "bfloat16"})


def test_another_version_of_the_scorer_is_refused() -> None:
    with pytest.raises(Refusal, match=r"format 4 and 3\); evaluate both again"):
        require_same_rules(RULES, {**RULES, "format": 3})


def test_items_are_paired_by_number_in_the_order_of_the_base() -> None:
    before, after = flips("arc_easy", 20, 3, 2)
    pairs = pair("arc_easy", before, after[::-1])
    assert [(base.item, tuned.item) for base, tuned in pairs] == [(item, item) for item in range(20)]


def test_different_items_are_refused() -> None:
    before, after = flips("arc_easy", 100, 5, 5)
    with pytest.raises(Refusal, match=r"task arc_easy: 3 items .* base and 1 only .*, 96 for both"):
        pair("arc_easy", before[:99], after[3:])


def test_different_prompts_are_refused() -> None:
    before, after = flips("arc_easy", 100, 5, 5)
    after[7] = replace(after[7], prompt_sha256="other")
    with pytest.raises(Refusal, match=r"task arc_easy: 1 of 100 items were asked with different prompts"):
        pair("arc_easy", before, after)


def test_items_scored_twice_are_refused() -> None:
    before, after = flips("arc_easy", 10, 1, 1)
    with pytest.raises(Refusal, match="1 items were scored more than once"):
        pair("arc_easy", before + before[:1], after)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"choices": ["chalk", "marble", "slate", "granite"]}, "choices"),
        ({"gold": 2}, "gold"),
        ({"labels": [0, 1, 1, 0]}, "labels"),
        ({"cluster": "quarries"}, "cluster"),
        ({"gold": 2, "labels": [0, 0, 1, 0]}, "gold and labels"),
    ],
)
def test_equal_prompts_with_other_answers_are_refused(change: dict[str, Any], named: str) -> None:
    """The prompt ends before the choices, so that its hash does not see them."""
    before = answers("arc_easy", [True] * 30)
    after = [replace(record, **change) if record.item % 10 == 0 else record for record in before]
    expected = rf"task arc_easy: 3 of 30 items do not have the same {named} in both files; evaluate both models again"
    with pytest.raises(Refusal, match=expected):
        pair("arc_easy", before, after)


@pytest.mark.parametrize(
    ("rule", "value"), [("max_tokens", 256), ("stops", ["."]), ("signatures", {"bleu": "tok:intl"}), ("sha256", "b")]
)
def test_answers_that_were_written_under_other_rules_are_refused(rule: str, value: Any) -> None:
    written = {"max_tokens": 64, "stops": [], "signatures": {}, "sha256": "a"}
    before, after = ({**RULES, "tasks": {"support": own}} for own in (written, {**written, rule: value}))
    with pytest.raises(Refusal, match=rf"task support was answered under other rules .* \({rule}\); evaluate both"):
        require_same_rules(before, after)
    require_same_rules(before, before)
    scored = {**RULES, "tasks": {"support": {"sha256": "a"}}}
    with pytest.raises(Refusal, match="other rules"):
        require_same_rules(scored, before)
    require_same_rules(scored, {**RULES, "tasks": {"support": {"sha256": "b"}}})
