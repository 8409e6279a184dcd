"""Which measures a task has, and which of them decides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carrara.evaluate.scores import Record
from carrara.verdict.measures import measures_of, value_of

from .invented import answers, texts


def _named(task: str, records: list[Record]) -> list[str]:
    return [measure.metric for measure in measures_of(task, records)]


@pytest.mark.parametrize("task", ["arc_easy", "arc_challenge", "hellaswag"])
def test_acc_norm_comes_first_where_it_is_published(task: str) -> None:
    assert _named(task, answers(task, [True, False], [True, True])) == ["acc_norm", "acc"]


def test_acc_comes_first_elsewhere() -> None:
    assert _named("mmlu", answers("mmlu", [True, False], [True, True])) == ["acc", "acc_norm"]


def test_likelihoods_of_the_right_choice_come_last() -> None:
    records = [replace(record, gold_bits_per_byte=0.5, gold_probability=0.4) for record in answers("mmlu", [True] * 3)]
    assert _named("mmlu", records) == ["acc", "gold_bits_per_byte", "gold_probability"]
    bits, probability = measures_of("mmlu", records)[1:]
    assert (bits.unit, bits.higher_is_better, bits.kind) == ("bits per byte", False, "mean")
    assert (probability.unit, probability.higher_is_better, probability.kind) == ("points", True, "mean")


def test_a_measure_that_one_record_lacks_is_left_out() -> None:
    records = answers("arc_easy", [True, False], [True, True])
    assert _named("arc_easy", [records[0], replace(records[1], correct_norm=None)]) == ["acc"]


def test_what_was_written_is_compared_by_what_was_measured_of_it() -> None:
    (record,) = texts("ifeval", [1.0])
    counts = {"followed_strict": 1.0, "followed_loose": 2.0, "instructions": 2.0}
    checked = replace(record, measures={"prompt_strict": 0.0, "prompt_loose": 1.0, **counts})
    assert _named("ifeval", [checked]) == ["prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose"]
    pooled = measures_of("ifeval", [checked])[1]
    assert (value_of(checked, pooled.field), value_of(checked, pooled.weight)) == (1, 2)
    panel = replace(record, measures={"chrf": 0.5, "words": 9.0, "missing_end": 1.0, "recited": 0.1})
    assert _named("heldout_answers", [panel]) == ["chrf", "missing_end", "recited"]
    assert [each.higher_is_better for each in measures_of("own", [panel])] == [True, False, False]
    assert _named("own", [panel, replace(record, measures={"chrf": 0.5})]) == ["chrf"]
    label = replace(record, correct=True, prediction_norm=None, correct_norm=None)
    assert _named("mood", [label]) == ["acc"]


def test_other_kinds() -> None:
    assert _named("heldout", texts("heldout", [1.0])) == ["loss", "bits_per_byte"]
    assert _named("truthfulqa_mc2", texts("truthfulqa_mc2", [1.0])) == ["mc2"]
    assert _named("poems", texts("poems", [1.0])) == []
