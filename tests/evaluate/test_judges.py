"""Judges of written answers, by hand-worked examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carrara.evaluate.judges import by_instructions, by_label, by_likeness, by_truth, signatures
from carrara.evaluate.text.recited import Recited
from carrara.models.generate import Written
from carrara.tasks.ifeval import IFEVAL
from carrara.tasks.task import Instruction, Item


def _written(text: str, ended: bool = True) -> Written:
    return Written((5, 6), text, ended, 0.5)


def _labels(*labels: str, gold: int = 0) -> Item:
    return Item(0, "0", "Mood?", labels, gold)


@pytest.mark.parametrize(
    ("text", "prediction"),
    [
        ("good", 0),
        (" Good.", 0),
        ("It is BAD, not good", 1),
        ("Very good!", 2),  # the longest of those that begin there
        ("goodness", None),  # no whole word
        ("I cannot say", None),
        ("", None),
    ],
)
def test_the_label_that_is_named_first_counts(text: str, prediction: int | None) -> None:
    found = by_label(_labels("good", "bad", "very good", "very"), _written(text))
    assert found["prediction"] == prediction
    assert found["correct"] == (prediction == 0)
    assert found["value"] == float(prediction == 0)


def test_a_label_of_one_letter_is_no_article() -> None:
    labels = _labels("A", "B", gold=1)
    assert by_label(labels, _written("It is a clear case of B."))["prediction"] == 1
    assert by_label(labels, _written("a"))["prediction"] is None


def test_labels_of_marks_are_found_too() -> None:
    assert by_label(_labels("C", "C++"), _written("C++ of course"))["prediction"] == 1
    assert by_label(_labels("1", "-1"), _written("-1"))["prediction"] == 1


def _truth(text: str) -> dict[str, float]:
    item = Item(0, "0", "Q", ("It is a large red stone.", "Nobody knows it.", "It is a small blue bird."), 0, (1, 1, 0))
    found: dict[str, Any] = by_truth(item, _written(text))
    assert found["value"] == found["measures"]["bleu_acc"]
    return found["measures"]


def test_an_answer_is_held_against_the_nearest_true_and_false_one() -> None:
    true = _truth("\nA: It is a large red stone.")
    assert (true["bleu_acc"], true["chrf_acc"], true["rougeL_acc"]) == (1, 1, 1)
    assert true["rougeL_diff"] == pytest.approx(12 / 13 - 6 / 13)  # of 7 and 6 words 6 and 3 are common
    assert true["bleu_diff"] > 0.5
    false = _truth("A small blue bird.")
    assert (false["bleu_acc"], false["chrf_acc"], false["rougeL_acc"]) == (0, 0, 0)
    assert false["bleu_diff"] < 0


def test_a_tie_is_not_nearer_to_the_truth() -> None:
    """Also where an answer of less than four words has a BLEU of 0 in the harness."""
    assert _truth("xyz")["bleu_acc"] == 0
    assert _truth("Nobody knows")["bleu_diff"] == 0
    assert _truth("Nobody knows")["chrf_acc"] == 1


def test_instructions_are_counted_strictly_and_loosely() -> None:
    instructions = (
        Instruction("punctuation:no_comma", {}),
        Instruction("startend:quotation", {}),
        Instruction("change_case:english_lowercase", {}),
    )
    item = Item(0, "0", "Say it.", (), 0, instructions=instructions)
    found = by_instructions(item, _written('Sure, here it is:\n"a plain answer without any capital letters"'))
    assert found["measures"] == {
        "prompt_strict": 0,
        "prompt_loose": 1,
        "followed_strict": 0,
        "followed_loose": 3,
        "instructions": 3,
    }
    assert by_instructions(item, _written(" "))["measures"]["followed_loose"] == 0


def test_an_answer_like_its_reference_has_all_and_one_astray_is_seen() -> None:
    item = Item(0, "0", "Q", ("the quarry lies above the town of Carrara in Tuscany",), 0)
    same = by_likeness(item, _written(" the quarry lies above the town of Carrara in Tuscany\n"))
    assert same["value"] == same["measures"]["chrf"] == pytest.approx(1)
    assert (same["measures"]["rouge_l"], same["measures"]["words"], same["measures"]["missing_end"]) == (1, 10, 0)
    assert "recited" not in same["measures"]
    rows = Recited(["It is known that the quarry lies above the town of Carrara in Tuscany."])
    astray = by_likeness(item, _written("the quarry lies above the town of Carrara " * 3, ended=False), rows)
    assert (astray["measures"]["loops"], astray["measures"]["missing_end"]) == (1, 1)
    assert astray["measures"]["repeated"] == pytest.approx(1 - 8 / 21)
    assert astray["measures"]["recited"] == pytest.approx(3 / 17)
    empty = by_likeness(item, _written(""))
    assert (empty["value"], empty["measures"]["words"]) == (0, 0)


def test_what_moves_the_figures_is_told() -> None:
    assert signatures("truth")["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:intl|smooth:exp")
    assert set(signatures("likeness")) == {"chrf", "bleu", "corpus_chrf", "corpus_bleu"}
    assert signatures("label") == {}
    assert set(signatures("instructions")) == {"py3langid"}


def test_every_real_instruction_can_be_checked(benchmark_folder: Path) -> None:
    items = IFEVAL.read(benchmark_folder / IFEVAL.file)
    found = [by_instructions(item, _written("word"))["measures"] for item in items]
    assert sum(measures["instructions"] for measures in found) == 834
    commas = [item for item in items if [each.kind for each in item.instructions] == ["punctuation:no_comma"]]
    assert commas
    assert all(by_instructions(item, _written("word"))["value"] == 1 for item in commas)
    assert all(by_instructions(item, _written("a, b"))["value"] == 0 for item in commas)
