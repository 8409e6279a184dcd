"""The truth check on seeded faults and on healthy set-ups: what it finds, what it misses, what it finds wrongly.

Every fault of tests/faults in chat templates of the LLaMA family, on tiny models with each template's own tokens; a
fault's size is drawn by chance from the seed. Then set-ups with nothing wrong: templates, methods, batchings, shapes
of rows.
    .venv/bin/python benchmarks/faults.py [--seed 1] [--formats 14] [--healthy 320] [--jobs 2]
Exits 1 if fewer than 95 % of the faults are found or more than 1 % of the healthy set-ups are refused.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.cases import Case, Result, fault_cases, healthy_cases, run_case
from tests.faults.templates import KITS

from carrara.models.machine import prepare_for_heavy_work

_FOUND, _FALSE = 0.95, 0.01


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--formats", type=int, default=len(KITS), help="chat templates that each fault is tried in")
    parser.add_argument("--healthy", type=int, default=320)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="faults whose name holds this text")
    arguments = parser.parse_args()
    cases = [*fault_cases(arguments.seed, arguments.formats), *healthy_cases(arguments.seed, arguments.healthy)]
    cases = [case for case in cases if not arguments.only or arguments.only in case.name]
    results = _run(cases, arguments.jobs)
    faulty = [result for result in results if result.case.sort != "none" and result.outcome]
    print("| fault | found | by |\n|---|---|---|")
    for sort, what in (("user", "brought by users"), ("trainer", "of a broken trainer")):
        print(f"| **{what}** | | |")
        _print_faults([result for result in faulty if result.case.sort == sort])
    good = _print_totals(faulty, [result for result in results if result.case.sort == "none"])
    sys.exit(0 if good else 1)


def _run(cases: Sequence[Case], jobs: int) -> list[Result]:
    os.environ["OMP_NUM_THREADS"] = "1"  # the models are tiny, and threads would wait for each other
    results: list[Result] = []
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), prepare_for_heavy_work) as pool:
        for result in pool.map(run_case, cases):
            results.append(result)
            _tell(result, len(results), len(cases))
    return results


def _tell(result: Result, done: int, of: int) -> None:
    """Say at once what is missed or found wrongly."""
    case, outcome = result.case, result.outcome
    if outcome and (outcome.by is None) == (case.sort != "none"):
        word = "missed" if case.sort != "none" else "FALSE"
        words = " ".join(outcome.sentence.split())[:300]
        print(f"{word}: {case.name} · {KITS[case.kit].name} · {dict(case.tune)} {words}", file=sys.stderr)
    if done % 50 == 0:
        print(f"{done} of {of}", file=sys.stderr)


def _print_faults(results: Iterable[Result]) -> None:
    by_name: dict[str, list[Result]] = {}
    for result in results:
        by_name.setdefault(result.case.name, []).append(result)
    for name, each in by_name.items():
        found = [result.outcome.by for result in each if result.outcome and result.outcome.by]
        who = ", ".join(f"{check} {count}" for check, count in Counter(found).most_common())
        print(f"| {name} | {len(found)} of {len(each)} | {who} |")


def _print_totals(faulty: Sequence[Result], healthy: Sequence[Result]) -> bool:
    found = [result.outcome.by for result in faulty if result.outcome and result.outcome.by]
    false = [result for result in healthy if result.outcome and result.outcome.by]
    earlier = found.count("refused")
    kinds = len({result.case.name for result in faulty})
    share, wrong = len(found) / max(1, len(faulty)), len(false) / max(1, len(healthy))
    print(
        f"\n{len(found)} of {len(faulty)} faults found ({share:.1%}), {earlier} of them refused by an earlier stage; "
        f"{kinds} kinds in {len({result.case.kit for result in faulty})} formats."
    )
    print(f"{len(false)} of {len(healthy)} healthy set-ups refused ({wrong:.1%}).")
    return share >= _FOUND and wrong <= _FALSE


if __name__ == "__main__":
    main()
