"""Rows cut in front: what is left is the tail of what serving feeds, with the answers that are whole."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from carrara.tune.truth import check_truth
from tests.faults import cut_faults
from tests.faults.ground import build, healthy, judge
from tests.faults.templates import KITS, Kit

_KITS = {kit.name: kit for kit in KITS}


@pytest.mark.parametrize("kit", [_KITS[name] for name in ("ChatML", "Llama 2", "Gemma")], ids=lambda kit: kit.name)
def test_rows_cut_in_front_are_left_alone(kit: Kit, tmp_path: Path) -> None:
    loaded, dataset, training = build(healthy(kit, random.Random(5), "long"), tmp_path)
    in_question, in_answer = (row for row in training.rows if row.cut)
    assert [_answers(row.supervised) for row in (in_question, in_answer)] == [2, 1]
    assert check_truth(loaded, dataset, training, ()).findings == ()


def _answers(mask: tuple[bool, ...]) -> int:
    """Runs of learned tokens."""
    return sum(learned and not before for before, learned in zip((False, *mask), mask, strict=False))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (
            "cut rows: the context's end cut",
            r"serving: .* tokens before the answer \(\d+ of them cut to fit\) and serving",
        ),
        ("cut rows: more cut than counted", r"serving: .* \(2 of the 40 rows looked at\)"),
        ("cut rows: BOS put back", r"serving: .* \(2 of the 40 rows looked at\)"),
        ("cut rows: ends of answers learned", r"mask: rows.jsonl, row 2: 2 runs of tokens are learned, but 1 answers"),
    ],
)
def test_rows_cut_in_another_way_are_found(name: str, found: str, tmp_path: Path) -> None:
    setup, chance = healthy(_KITS["Llama 3"], random.Random(5)), random.Random(1)
    broken = cut_faults.FAULTS[name](setup, chance)
    assert re.search(found, judge(setup, tmp_path, broken.before, broken.after).sentence)
