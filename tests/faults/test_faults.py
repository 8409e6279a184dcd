"""The fault table in a reduced form: every other fault in one format, and some set-ups with nothing wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.cases import KITS, Case, fault_cases, healthy_cases, run_case
from tests.tiny import one_thread

_SEED = 3


@pytest.fixture(scope="module", autouse=True)
def _on_one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.slow
def test_faults_are_found() -> None:
    results = [run_case(case) for case in [*fault_cases(_SEED, formats=1)][::2]]
    made = [result for result in results if result.outcome]
    missed = [_told(result.case) for result in made if result.outcome and not result.outcome.by]
    assert len({result.case.name for result in made}) >= 40
    assert len(missed) <= 0.05 * len(made), missed


@pytest.mark.slow
def test_healthy_set_ups_are_left_alone() -> None:
    results = [run_case(case) for case in healthy_cases(_SEED, 18)]
    refused = [(_told(each.case), each.outcome.sentence) for each in results if each.outcome and each.outcome.by]
    assert refused == []


def _told(case: Case) -> str:
    return f"{case.name} in {KITS[case.kit].name} {dict(case.tune)}"
