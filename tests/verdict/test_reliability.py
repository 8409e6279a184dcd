"""Calibration against figures made by hand."""

from __future__ import annotations

import math
import random
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.evaluate.classification import BINS
from carrara.evaluate.scores import Record
from carrara.verdict.reliability import diagram, reliability

from .invented import choice, text


def _sure(item: int, probability: float, right: bool) -> Record:
    """A question of two choices; the model takes the second with `probability`."""
    record = choice("sentiment", item, right)
    shares = [math.log(1 - probability), math.log(probability)]
    return replace(record, loglikelihoods=shares, prediction=1, gold=1 if right else 0, correct=right)


def test_one_item_a_bin() -> None:
    found = reliability([_sure(0, 0.9, True), _sure(1, 0.6, False)])
    assert found is not None
    assert found.n == 2
    assert [(each.count, each.accuracy) for each in found.bins] == [(1, 0.0), (1, 1.0)]
    assert [each.confidence for each in found.bins] == pytest.approx([0.6, 0.9])
    assert found.ece == pytest.approx((0.6 + 0.1) / 2)
    assert found.brier == pytest.approx((2 * 0.1**2 + 2 * 0.6**2) / 2)


def test_bins_hold_as_many_items_each() -> None:
    """Two of three are right at confidence 0.8: each bin is off by 0.8 - 2/3."""
    found = reliability([_sure(item, 0.8, item % 3 > 0) for item in range(3 * BINS)])
    assert found is not None
    assert {each.count for each in found.bins} == {3}
    assert found.counts == "3"
    assert sum(each.count * each.accuracy for each in found.bins) == pytest.approx(2 * BINS)
    uneven = reliability([_sure(item, 0.8, True) for item in range(BINS + 1)])
    assert uneven is not None
    assert uneven.counts == "1 to 2"
    assert uneven.ece == pytest.approx(0.2)


def test_several_choices_count_for_brier() -> None:
    shares = [math.log(0.5), math.log(0.3), math.log(0.2)]
    record = replace(choice("t", 0, right=False), loglikelihoods=shares, prediction=0, gold=1)
    found = reliability([record])
    assert found is not None
    assert found.brier == pytest.approx(0.5**2 + 0.7**2 + 0.2**2)
    assert (found.bins[0].confidence, found.bins[0].accuracy) == (pytest.approx(0.5), 0.0)


@given(st.lists(st.tuples(st.floats(0.5, 0.999), st.booleans()), min_size=1, max_size=80))
@settings(max_examples=40, deadline=None)
def test_the_order_of_items_tells_nothing_and_figures_stay_in_their_bounds(judged: list[tuple[float, bool]]) -> None:
    records = [_sure(item, *each) for item, each in enumerate(judged)]
    found = reliability(records)
    assert found is not None
    assert sum(each.count for each in found.bins) == found.n == len(judged)
    assert 0 <= found.ece <= 1
    assert 0 <= found.brier <= 2
    shuffled = reliability(random.Random(0).sample(records, len(records)))
    assert shuffled is not None
    assert (shuffled.bins, shuffled.ece) == (found.bins, found.ece)


def test_what_is_not_chosen_is_not_calibrated() -> None:
    assert reliability([]) is None
    assert reliability([text("heldout", 0, 20.0)]) is None
    assert reliability([replace(_sure(0, 0.6, True), loglikelihoods=[-1.0])]) is None


def test_the_diagram_has_a_dot_for_each_bin_where_its_figures_say() -> None:
    before = reliability([_sure(0, 0.6, False), _sure(1, 0.9, True)])
    after = reliability([_sure(0, 0.7, True), _sure(1, 0.9, True)])
    assert before is not None
    assert after is not None
    svg = ElementTree.fromstring(diagram("</svg><script>", before, after))
    assert svg.get("role") == "img"
    assert svg.findtext("title") == svg.get("aria-label")
    assert "calibration error 0.350 before, 0.200 after" in str(svg.get("aria-label"))
    dots = [(dot.get("class"), float(dot.get("cx", "nan")), float(dot.get("cy", "nan"))) for dot in svg.iter("circle")]
    assert dots == [  # 44 to 312 across is 0 to 1, 252 to 12 upwards
        ("before", pytest.approx(44 + 0.6 * 268, abs=0.06), 252.0),
        ("before", pytest.approx(44 + 0.9 * 268, abs=0.06), 12.0),
        ("after", pytest.approx(44 + 0.7 * 268, abs=0.06), 12.0),
        ("after", pytest.approx(44 + 0.9 * 268, abs=0.06), 12.0),
    ]
    assert next(dot.findtext("title") for dot in svg.iter("circle")) == (
        "before: 1 item, confidence 60.0 %, right 0.0 %"
    )
