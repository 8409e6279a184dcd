"""Rows lost on the way: what is counted as lost, what is not, and rows that have nothing to learn."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from carrara.tune.truth import Truth, check_truth
from tests.faults.ground import SetUp, build, healthy
from tests.faults.rows import pairs
from tests.faults.templates import KITS

_CHATML = KITS[0]  # without BOS


def _set_up(shape: str = "pairs", **tune: object) -> SetUp:
    return healthy(_CHATML, random.Random(5), shape, **tune)


def _truth(setup: SetUp, folder: Path) -> Truth:
    return check_truth(*build(setup, folder), ())


def _checks(truth: Truth) -> list[str]:
    return [finding.check for finding in truth.findings]


def test_copies_that_were_dropped_are_not_lost(tmp_path: Path) -> None:
    setup = _set_up()
    setup.rows += [dict(row) for row in setup.rows]
    loaded, dataset, training = build(setup, tmp_path)
    assert dataset.artefact.summary["rows"] == {"read": 80, "kept": 40, "quarantined": 40}
    truth = check_truth(loaded, dataset, training, ())
    assert truth.findings == ()
    assert (truth.facts["rows"], truth.facts["rows_unusable"], truth.facts["rows_set_aside"]) == (40, 0, 0)


def test_rows_without_an_answer_are_lost_beside_copies_too(tmp_path: Path) -> None:
    setup = _set_up()
    setup.rows += [dict(row) for row in setup.rows]
    for row in setup.rows[::2][:10]:
        row["completion"] = " "
    (finding,) = _truth(setup, tmp_path).findings
    assert finding.check == "quarantine"
    assert finding.sentence.startswith("10 of 80 rows of rows.jsonl cannot be used ")
    assert "as in rows.jsonl, row 1, completion is empty, so there is nothing to learn." in finding.sentence


def test_few_rows_without_an_answer_are_counted(tmp_path: Path) -> None:
    setup = _set_up()
    setup.rows[3]["completion"] = "\n"
    truth = _truth(setup, tmp_path)
    assert truth.findings == ()
    assert (truth.facts["rows"], truth.facts["rows_unusable"]) == (39, 1)


def test_canaries_are_none_of_the_user_s_rows(tmp_path: Path) -> None:
    truth = _truth(_set_up(canaries=3), tmp_path)
    assert truth.findings == ()
    assert (truth.facts["rows"], truth.facts["canary_rows"]) == (40, 1 + 4 + 16)
    without = _truth(_set_up(), tmp_path / "without")
    assert truth.facts["tokens"] == without.facts["tokens"]


@pytest.mark.parametrize("canaries", [0, 4])
def test_canaries_hide_no_row_that_was_set_aside(canaries: int, tmp_path: Path) -> None:
    setup = _set_up(canaries=canaries)
    for row in setup.rows[:5]:
        row["completion"] += "<|im_end|>"
    (finding,) = _truth(setup, tmp_path).findings
    assert finding.check == "set-aside"
    assert finding.sentence.startswith("5 of 40 training rows cannot be rendered")


def test_canaries_hide_neither_cut_rows_nor_equal_answers(tmp_path: Path) -> None:
    setup = _set_up(canaries=4, max_length=400)
    for row in setup.rows:
        row["completion"] = "yes"
    for row in setup.rows[:5]:
        row["prompt"] += " and on" * 60
    truth = _truth(setup, tmp_path)
    assert _checks(truth) == ["cut", "one-answer"]
    assert truth.findings[0].sentence.startswith("5 of 40 rows are longer")
    assert truth.findings[1].sentence.startswith("all of the 40 rows")


def test_a_row_with_nothing_but_an_end_to_learn_is_set_aside_by_name(tmp_path: Path) -> None:
    setup = _set_up("documents")
    setup.rows[7] = {"text": "a"}  # nothing stands before it that could predict it
    loaded, dataset, training = build(setup, tmp_path)
    assert min(row.supervised_count for row in training.rows) > 1
    truth = check_truth(loaded, dataset, training, ())
    assert truth.findings == ()
    assert (truth.facts["rows"], truth.facts["rows_set_aside"]) == (39, 1)


def test_one_row_of_many_that_learns_its_end_alone_is_found(tmp_path: Path) -> None:
    setup = _set_up()
    setup.rows = pairs(random.Random(5), 120, False)
    loaded, dataset, training = build(setup, tmp_path)
    rows = list(training.rows)
    rows[60] = replace(rows[60], supervised=(*[False] * (len(rows[60].ids) - 1), True))
    finding = check_truth(loaded, dataset, replace(training, rows=rows), ()).findings[0]
    assert finding.check == "nothing-learned"
    assert "1 of 120 rows have no answer to learn beyond an end, the first is rows.jsonl, row 61;" in finding.sentence
