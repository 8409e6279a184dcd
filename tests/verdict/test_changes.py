"""The items that changed: which, in what order, and with what they show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carrara.evaluate.scores import Record
from carrara.verdict.changes import MOST_ITEMS, Change, TaskChanges, changes_of, worst_first
from carrara.verdict.compare import compare
from carrara.verdict.pairing import pair

from .invented import choice, flips, scores, text, texts


def _changes(before: list[Record], after: list[Record]) -> TaskChanges:
    base, tuned = scores(before), scores(after)
    (row,) = compare(base, tuned).primaries()
    return changes_of(row, pair(row.task, base.of(row.task), tuned.of(row.task)))


def _sure(item: int, right: bool, probability: float) -> Record:
    return replace(choice("arc_easy", item, right), gold_probability=probability)


def _numbers(changes: list[Change]) -> list[int]:
    return [change.number for change in changes]


def test_regressions_are_ordered_by_the_probability_lost() -> None:
    before = [_sure(0, True, 0.5), _sure(1, True, 0.9), _sure(2, True, 0.6), _sure(3, True, 0.9), _sure(4, False, 0.1)]
    after = [_sure(0, False, 0.4), _sure(1, False, 0.1), _sure(2, False, 0.2), _sure(3, True, 0.1), _sure(4, True, 0.7)]
    found = _changes(before, after)
    assert _numbers(found.lost) == [2, 3, 1]  # item 4 lost as much, but is still right
    assert [change.gain for change in found.lost] == pytest.approx([-0.8, -0.4, -0.1])
    assert (found.lost[0].before, found.lost[0].after, found.lost[0].by_probability) == (0.9, 0.1, True)
    assert _numbers(found.won) == [5]
    assert found.won[0].gain == pytest.approx(0.6)


def test_each_side_is_cut_and_counted() -> None:
    before, after = flips("arc_easy", 400, MOST_ITEMS + 7, MOST_ITEMS)
    found = _changes(before, after)
    assert (len(found.won), found.won_count) == (MOST_ITEMS, MOST_ITEMS + 7)
    assert (len(found.lost), found.lost_count) == (MOST_ITEMS, MOST_ITEMS)
    assert (found.row.won, found.row.lost) == (found.won_count, found.lost_count)


def test_nothing_changed_is_no_change() -> None:
    before, _ = flips("arc_easy", 20, 3, 3)
    found = _changes(before, before)
    assert (found.lost, found.won, found.lost_count, found.won_count) == ([], [], 0, 0)
    assert worst_first([found]) == []


def test_both_answers_are_kept_whole_with_their_shares() -> None:
    long = "a stone " * 1000
    before = [replace(_sure(item, True, 0.5), choices=["chalk", long, "slate"]) for item in range(2)]
    before = [replace(record, loglikelihoods=[-2.0, -1.0, -3.0]) for record in before]
    after = [replace(before[0], correct=False, prediction=2, loglikelihoods=[-3.0, -2.0, -1.0]), before[1]]
    (change,) = _changes(before, after).lost
    assert change.answered == (long, "slate")
    assert [(answer.right, answer.taken) for answer in change.answers] == [
        (False, (False, False)),
        (True, (True, False)),
        (False, (False, True)),
    ]
    shares = [answer.shares for answer in change.answers if answer.shares]
    assert [share[0] for share in shares] == pytest.approx([0.2447, 0.6652, 0.0900], abs=1e-4)
    assert [sum(side) for side in zip(*shares, strict=True)] == pytest.approx([1.0, 1.0])


def test_a_loss_that_grew_is_a_regression_and_is_told_by_the_token() -> None:
    found = _changes(texts("heldout", [20.0, 30.0, 10.0]), texts("heldout", [10.0, 35.0, 12.0]))
    assert [(change.number, change.before, change.after) for change in found.lost] == [(2, 3.0, 3.5), (3, 1.0, 1.2)]
    assert [(change.number, change.gain) for change in found.won] == [(1, 1.0)]
    assert found.won[0].answered is None


def test_a_scored_text_is_no_choice() -> None:
    before = [
        replace(text("heldout", item, 20.0), choices=["the expected answer"], loglikelihoods=[-20.0]) for item in (0, 1)
    ]
    after = [replace(before[0], value=10.0, loglikelihoods=[-10.0]), before[1]]
    (change,) = _changes(before, after).won
    assert [(answer.text, answer.right, answer.shares) for answer in change.answers] == [
        ("the expected answer", False, None)
    ]


def test_every_true_answer_is_marked() -> None:
    record = choice("truthfulqa_mc2", 0, right=True)
    record = replace(record, labels=[1, 1, 0, 0], gold=0, prediction=None, correct=None)
    before = [replace(record, item=item, prompt_sha256=str(item), value=0.5) for item in (0, 1)]
    found = _changes(before, [replace(before[0], value=0.75), before[1]])
    assert [answer.right for answer in found.won[0].answers] == [True, True, False, False]
    assert (found.won[0].by_probability, found.won[0].gain) == (False, 0.25)


def test_all_tasks_together_have_regressions_first_and_losses_in_nats_behind() -> None:
    arc = _changes([_sure(0, True, 0.6), _sure(1, False, 0.3)], [_sure(0, False, 0.5), _sure(1, True, 0.9)])
    heldout = _changes(texts("heldout", [20.0, 30.0]), texts("heldout", [90.0, 10.0]))
    told = [(change.row.task, change.gain > 0) for change in worst_first([heldout, arc])]
    assert told == [("arc_easy", False), ("heldout", False), ("arc_easy", True), ("heldout", True)]
