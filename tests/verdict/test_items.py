"""What an item's records say under a metric."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from carrara.verdict.items import mean_score, probabilities, score, taken

from .invented import choice, text


def test_probabilities_are_a_softmax_that_far_likelihoods_do_not_break() -> None:
    record = replace(choice("t", 0, right=True), loglikelihoods=[math.log(0.1), math.log(0.3), math.log(0.6)])
    assert probabilities(record) == pytest.approx([0.1, 0.3, 0.6])
    far = replace(record, loglikelihoods=[-5000.0, -5000.0 + math.log(3)])
    assert probabilities(far) == pytest.approx([0.25, 0.75])
    assert probabilities(replace(record, loglikelihoods=[])) == []


def test_a_metric_judges_by_its_own_choice() -> None:
    record = choice("arc_easy", 0, right=False, right_norm=True)
    assert (taken("acc", record), taken("acc_norm", record), taken("mc2", record)) == (0, 1, None)
    assert (score("acc", record), score("acc_norm", record)) == (0.0, 1.0)


def test_a_loss_weighs_items_by_their_tokens() -> None:
    records = [text("heldout", 0, 10.0, tokens=5), text("heldout", 1, 30.0, tokens=20)]
    assert [score("loss", record) for record in records] == [2.0, 1.5]
    assert mean_score("loss", records) == pytest.approx(40 / 25)
    assert mean_score("mc2", records) == 20.0
