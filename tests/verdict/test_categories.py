"""Scores by category against counts made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carrara.evaluate.scores import Record
from carrara.verdict.categories import Category, categories
from carrara.verdict.compare import compare
from carrara.verdict.pairing import pair

from .invented import answers, scores, texts


def _categories(before: list[Record], after: list[Record], names: list[str]) -> list[Category]:
    base, tuned = (
        scores([replace(record, category=name) for record, name in zip(records, names, strict=True)])
        for records in (before, after)
    )
    (row,) = compare(base, tuned).primaries()
    return categories(row, pair(row.task, base.of(row.task), tuned.of(row.task)))


def test_categories_are_counted_and_ordered_by_their_difference() -> None:
    names = ["law"] * 10 + ["myths"] * 12 + ["fiction"] * 2
    before = answers("truthfulqa_mc1", [True] * 5 + [False] * 5 + [True] * 9 + [False] * 3 + [True] * 2)
    after = answers("truthfulqa_mc1", [True] * 8 + [False] * 2 + [True] * 6 + [False] * 6 + [False] * 2)
    found = _categories(before, after, names)
    assert [(each.name, each.n, each.few) for each in found] == [
        ("myths", 12, False),
        ("law", 10, False),
        ("fiction", 2, True),  # the largest loss, but of two items
    ]
    assert [each.base for each in found] == pytest.approx([0.75, 0.5, 1.0])
    assert [each.tuned for each in found] == pytest.approx([0.5, 0.8, 0.0])
    assert [each.difference for each in found] == pytest.approx([-0.25, 0.3, -1.0])


def test_categories_together_are_the_task() -> None:
    before, after = answers("arc_easy", [True, False] * 15), answers("arc_easy", [True, True, False] * 10)
    found = _categories(before, after, [f"c{item % 4}" for item in range(30)])
    assert sum(each.n * each.base for each in found) / 30 == pytest.approx(0.5)
    assert sum(each.n * each.tuned for each in found) / 30 == pytest.approx(2 / 3)


def test_a_loss_that_grew_most_comes_first() -> None:
    names = ["a"] * 10 + ["b"] * 10
    found = _categories(texts("heldout", [20.0] * 20), texts("heldout", [18.0] * 10 + [25.0] * 10), names)
    assert [(each.name, each.base, each.tuned) for each in found] == [("b", 2.0, 2.5), ("a", 2.0, 1.8)]


def test_items_without_categories_have_none() -> None:
    before = answers("arc_easy", [True, False])
    assert _categories(before, before, ["", ""]) == []
    assert [each.name for each in _categories(before, before, ["", "law"])] == ["(no category)", "law"]
