"""Metrics by hand-worked examples."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from carrara.evaluate.metrics import Figure, below_guessing, figures, record_of_choice
from carrara.evaluate.protocol import PROTOCOLS
from carrara.evaluate.scores import Record
from carrara.tasks import BENCHMARKS
from carrara.tasks.task import Item

LM_EVAL, LEADERBOARD = PROTOCOLS["lm-eval-0.4"], PROTOCOLS["leaderboard-2023-10"]


def _record(task: str, item: Item, values: list[float], protocol: str = "lm-eval-0.4") -> Record:
    return record_of_choice(BENCHMARKS[task], PROTOCOLS[protocol], item, "prompt", values, 5, 0.5)


def test_length_normalisation_counts_characters() -> None:
    item = Item(3, "id", "Q", ("é" * 10, "ab"), 0)
    record = _record("arc_easy", item, [-10.0, -3.0])
    assert (record.prediction, record.correct) == (1, False)
    assert (record.prediction_norm, record.correct_norm) == (0, True)  # -1.0 a character against -1.5
    assert record.gold_bits_per_byte == pytest.approx(10 / math.log(2) / 21)  # a space and ten times two bytes


def test_a_tie_goes_to_the_first() -> None:
    assert _record("truthfulqa_mc1", Item(0, "0", "Q", ("a", "b"), 0), [-2.0, -2.0]).correct is True


def test_mc2_is_the_mass_of_the_true_answers() -> None:
    item = Item(0, "0", "Q", ("a", "b", "c"), 0, (1, 0, 1))
    values = [math.log(0.5), math.log(0.3), math.log(0.2)]
    assert _record("truthfulqa_mc2", item, values).value == pytest.approx(0.7)
    # the old harness took all choices before the first false one
    assert _record("truthfulqa_mc2", item, values, "leaderboard-2023-10").value == pytest.approx(0.5)


def test_mc2_survives_very_long_answers() -> None:
    item = Item(0, "0", "Q", ("a", "b"), 0, (1, 0))
    assert _record("truthfulqa_mc2", item, [-2000.0, -2001.0]).value == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_standard_error_is_the_closed_form() -> None:
    item = Item(0, "0", "Q", ("a", "b"), 0)
    records = [_record("arc_easy", item, [-1.0, -2.0])] * 3 + [_record("arc_easy", item, [-2.0, -1.0])]
    acc, acc_norm, *others = figures(records, LM_EVAL, BENCHMARKS["arc_easy"])
    assert acc == Figure("arc_easy", "acc", 0.75, pytest.approx(0.25), 4, 2.0)  # type: ignore[arg-type]
    assert acc_norm.metric == "acc_norm"
    assert [other.metric for other in others] == ["gold_bits_per_byte", "gold_probability"]
    assert figures(records[:1], LM_EVAL, BENCHMARKS["arc_easy"])[0].stderr is None


def test_a_mean_of_subjects_counts_each_alike_where_the_protocol_does() -> None:
    """Three questions of one subject, all right, and one of another, wrong."""
    right, wrong = [-1.0, -2.0], [-2.0, -1.0]
    items = [Item(n, str(n), "Q", ("A", "B"), 0, category="law" if n < 3 else "art") for n in range(4)]
    records = [_record("mmlu", item, wrong if item.category == "art" else right) for item in items]
    assert figures(records, LM_EVAL, BENCHMARKS["mmlu"])[0].value == 0.75
    assert figures(records, LEADERBOARD, BENCHMARKS["mmlu"])[0] == Figure("mmlu", "acc", 0.5, None, 4, 2.0)
    more = [*records, _record("mmlu", items[3], right)]
    error = figures(more, LEADERBOARD, BENCHMARKS["mmlu"])[0].stderr
    assert figures(more, LEADERBOARD, BENCHMARKS["mmlu"])[0].value == 0.75
    assert error == pytest.approx(0.25)  # of art 1/2, of law 0; the root of their squares over two


def _wrote(task: str, text: str, **measures: float) -> Record:
    record = _record("arc_easy", Item(0, "0", "Q", ("a cat", "a dog"), 0), [-1.0, -2.0])
    return replace(record, task=task, choices=["a cat"], written=text, measures=measures)


def test_instructions_count_alike_however_many_an_item_has() -> None:
    records = [
        _wrote("ifeval", "a", prompt_strict=1, prompt_loose=1, followed_strict=1, followed_loose=1, instructions=1),
        _wrote("ifeval", "b", prompt_strict=0, prompt_loose=0, followed_strict=1, followed_loose=2, instructions=3),
    ]
    found = {figure.metric: figure for figure in figures(records, LM_EVAL, BENCHMARKS["ifeval"])}
    assert [figure.value for figure in found.values()] == [0.5, 0.5, 0.5, 0.75]
    assert found["prompt_strict"].stderr == pytest.approx(0.5)
    assert found["instruction_strict"].stderr == pytest.approx(0.25)  # half of what is missing and too much, over 2
    assert below_guessing(records, list(found.values())) == []


def test_what_all_texts_have_together_has_no_standard_error() -> None:
    names = ("chrf", "bleu", "rouge_l", "repeated", "loops", "missing_end", "words", "recited")
    means = dict.fromkeys(names, 0.5)
    records = [_wrote("heldout_answers", text, **means) for text in ("a cat", "a cat", "the dog")]
    found = {figure.metric: figure for figure in figures(records, LM_EVAL)}
    assert (found["chrf"].value, found["chrf"].stderr, found["recited"].value) == (0.5, 0.0, 0.5)
    assert (found["distinct_1"].value, found["distinct_2"].value) == (pytest.approx(4 / 6), pytest.approx(2 / 3))
    assert 0.4 < found["corpus_chrf"].value < 1
    assert found["self_bleu"].stderr is found["corpus_chrf"].stderr is None
    assert next(iter(found)) == "chrf"


def test_an_accuracy_below_guessing_is_said() -> None:
    item = Item(0, "0", "Q", ("a", "bb", "cc", "dd"), 0)
    for right, said in ((6, 2), (20, 0)):  # of 100, where guessing finds 25 give or take 4.3
        records = [_record("arc_easy", item, [-1.0 if n < right else -9.0, -2.0, -3.0, -4.0]) for n in range(100)]
        found = below_guessing(records, figures(records, LM_EVAL, BENCHMARKS["arc_easy"]))
        assert len(found) == said
        assert all("below guessing (25.0 %)" in sentence for sentence in found)
