"""Names of tasks and of their families."""

from __future__ import annotations

import pytest

from carrara.errors import Refusal
from carrara.tasks import BENCHMARKS, FAMILIES, WITHOUT_QUESTIONS, task_names


def test_families_become_their_tasks_each_once() -> None:
    assert task_names(["arc", "truthfulqa", "mmlu"]) == [
        "arc_easy", "arc_challenge", "truthfulqa_mc1", "truthfulqa_mc2", "mmlu",
    ]  # fmt: skip
    assert task_names(["arc_challenge", "heldout", "arc", "heldout"]) == ["arc_challenge", "heldout", "arc_easy"]
    assert task_names([]) == []


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    known = r"arc_easy, .*stsb, heldout, heldout_answers, latency, arc, truth"
    with pytest.raises(Refusal, match=rf"no task 'arcc'; known are {known}"):
        task_names(["arc", "arcc"])


def test_every_member_of_a_family_is_a_task_under_its_own_name() -> None:
    assert {member for members in FAMILIES.values() for member in members} <= set(BENCHMARKS)
    assert not set(FAMILIES) & {*BENCHMARKS, *WITHOUT_QUESTIONS}
    assert all(name == task.name for name, task in BENCHMARKS.items())
