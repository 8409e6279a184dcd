"""How often a verdict is false, how often an interval covers, and how often a stated difference is found.

    .venv/bin/python benchmarks/false_verdicts.py
False verdicts: two sides drawn alike, so that every "better" or "worse" is an error; at most 5 % may be. Power: sides
that differ by what is stated as detectable; 80 % must be found. Behind ± are two standard errors of the simulation.
Seeds are fixed; it takes some two minutes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carrara.evaluate.scores import Record, Scores
from carrara.verdict import clusters, power, sequential, statistics
from carrara.verdict.compare import compare

DRAWS = 10_000
FEWER = 1000  # where one simulation takes tens of milliseconds
ALPHA = 0.05
SHARES = (0.03, 0.05, 0.1, 0.2)
SIZES = {"TruthfulQA": 817, "ARC-Challenge": 1172, "ARC-Easy": 2376, "HellaSwag": 10_042}
CLUSTERS, OF_SIZE = 40, 10


def main() -> None:
    began = time.monotonic()
    table(("false verdicts at .05, two like models", "simulations", "false"), false_verdicts())
    table(("95 % interval", "simulations", "covers"), coverage())
    head = ("benchmark", "items", "that flip", "detectable, points", "found")
    table(head, powers())
    print(f"{time.monotonic() - began:.0f} s")


def table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
    print()


def percent(found: Iterable[bool] | NDArray[Any]) -> tuple[str, str]:
    """The number of simulations, and the share in which something was found with two standard errors."""
    every = np.array(list(found), dtype=bool)
    return f"{len(every):,}", f"{100 * every.mean():.2f} % ± {200 * every.std() / len(every) ** 0.5:.2f}"


# ---- false verdicts ----


def false_verdicts() -> Iterable[tuple[Any, ...]]:
    yield "exact McNemar, 1,172 items, 10 % flip", *percent(mcnemar_of_like_models())
    for n in (20, 200):
        drawn = np.random.default_rng(n).standard_t(2, size=(DRAWS, n))
        yield f"sign-flip, {n} heavy-tailed differences", *percent(statistics.sign_flip_p(d) < ALPHA for d in drawn)
    alone, together = flips_in_clusters()
    title = f"{CLUSTERS} sources of {OF_SIZE} items that flip together"
    yield f"sign-flip of clusters, {title}", *percent(together)
    yield f"(McNemar there, which is not used: {title})", *percent(alone)
    yield "e-value, looked at after each of 1,000 flips", *percent(e_value_stops())
    yield "(McNemar looked at after each, which is not used)", *percent(mcnemar_stops())
    yield "`compare`, overall verdict, Holm over 3 tasks", *percent(whole_verdicts())


def mcnemar_of_like_models() -> NDArray[np.bool_]:
    flips = np.random.default_rng(0).binomial(1172, 0.1, DRAWS)
    won = np.random.default_rng(1).binomial(flips, 0.5)
    return np.array([statistics.mcnemar_exact(int(w), int(f - w)) < ALPHA for w, f in zip(won, flips)])


def flips_in_clusters() -> tuple[list[bool], list[bool]]:
    """False verdicts of McNemar and of the test by clusters, where the flips of a source share their direction."""
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(CLUSTERS), OF_SIZE)
    alone, together = [], []
    for _ in range(DRAWS):
        flipped = generator.choice([-1.0, 1.0], CLUSTERS)[groups] * (generator.random(len(groups)) < 0.3)
        alone.append(statistics.mcnemar_exact(int(np.sum(flipped > 0)), int(np.sum(flipped < 0))) < ALPHA)
        together.append(statistics.sign_flip_p(clusters.sums(flipped, groups)) < ALPHA)
    return alone, together


def tosses(blocks: int = 10) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Wins and losses after each of 1,000 flips, in blocks of paths."""
    generator = np.random.default_rng(3)
    for _ in range(blocks):
        won = np.cumsum(generator.integers(0, 2, (DRAWS // blocks, 1000)), axis=1)
        yield won, np.arange(1, 1001) - won


def e_value_stops() -> NDArray[np.bool_]:
    return np.concatenate([sequential.log_e_value(*counts).max(axis=1) >= np.log(1 / ALPHA) for counts in tosses()])


def mcnemar_stops() -> NDArray[np.bool_]:
    fewest = np.array([most_lost(flips) for flips in range(1, 1001)])
    return np.concatenate([(np.minimum(won, lost) <= fewest).any(axis=1) for won, lost in tosses()])


def most_lost(flips: int) -> int:
    """The most losses among so many flips with which McNemar says better; -1 if none."""
    lost = flips // 2
    while lost >= 0 and statistics.mcnemar_exact(flips - lost, lost) >= ALPHA:
        lost -= 1
    return lost


def whole_verdicts() -> Iterable[bool]:
    """ARC by McNemar, mc2 and held-out loss by sign-flips and bootstrap; both sides err alike around one skill."""
    generator = np.random.default_rng(4)
    for _ in range(FEWER):
        skill, level = generator.random(200), generator.uniform(1, 4, (2, 80))
        sides = []
        for _side in range(2):
            right = 0.75 * skill + 0.25 * generator.random(200) > 0.5
            moved = level * np.exp(generator.normal(0, 0.05, level.shape))
            records = [record("arc_challenge", i, float(flag), correct=bool(flag)) for i, flag in enumerate(right)]
            records += [record("truthfulqa_mc2", i, float(value) / 8) for i, value in enumerate(moved[0])]
            records += [record("heldout", i, float(value)) for i, value in enumerate(moved[1])]
            sides.append(Scores(records, {}))
        yield compare(*sides).verdict in ("better", "worse", "mixed")


def record(task: str, item: int, value: float, correct: bool | None = None) -> Record:
    return Record(
        task=task, item=item, id=str(item), question="", choices=[], prompt_sha256="", gold=0, correct=correct,
        correct_norm=correct, value=value, tokens=10 + item, bytes=40, seconds=0.0,
    )  # fmt: skip


# ---- coverage ----


def coverage() -> Iterable[tuple[Any, ...]]:
    for n, won, lost in ((100, 0.08, 0.02), (817, 0.06, 0.03)):
        title = f"Tango, {n} items, {100 * won:g} % won, {100 * lost:g} % lost"
        yield title, *percent(tango_covers(n, won, lost))
    generator = np.random.default_rng(5)
    skewed = generator.exponential(size=(FEWER, 100)) - 1
    yield "bootstrap-t of a mean, 100 skewed differences", *percent(covers(d, np.ones(100), 0.0) for d in skewed)
    yield "bootstrap-t of a ratio, 80 texts of unlike length", *percent(ratios_cover(generator))
    yield "bootstrap-t of 30 clusters of 2 to 19 items", *percent(clusters_cover(generator))
    title = "e-value's, share of wins .6, at every 10th of 300 flips at once"
    yield title, *percent(always_covers(generator))


def covers(d: NDArray[Any], w: NDArray[Any], truth: float) -> bool:
    low, high = statistics.bootstrap_interval(d, w)
    return low <= truth <= high


def tango_covers(n: int, won: float, lost: float) -> Iterable[bool]:
    drawn = np.random.default_rng(n).multinomial(n, [won, lost, 1 - won - lost], size=DRAWS)
    tables, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    for (up, down), count in zip(tables.tolist(), times):
        low, high = statistics.paired_proportion_interval(up, down, n)
        yield from [low <= won - lost <= high] * int(count)


def ratios_cover(generator: np.random.Generator) -> Iterable[bool]:
    for _ in range(FEWER):
        weights = generator.integers(5, 200, 80).astype(float)
        yield covers(weights * (0.02 + generator.normal(0, 0.1, 80)), weights, 0.02)


def clusters_cover(generator: np.random.Generator) -> Iterable[bool]:
    for _ in range(FEWER):
        groups = np.repeat(np.arange(30), generator.integers(2, 20, 30))
        values = generator.normal(0.1, 1, 30)[groups] + generator.normal(0, 0.5, len(groups))
        yield covers(clusters.sums(values, groups), clusters.sums(np.ones(len(groups)), groups), 0.1)


def always_covers(generator: np.random.Generator) -> Iterable[bool]:
    for _ in range(FEWER):
        won = np.cumsum(generator.random(300) < 0.6)
        intervals = [sequential.share_interval(int(won[t - 1]), t - int(won[t - 1])) for t in range(10, 301, 10)]
        yield all(low <= 0.6 <= high for low, high in intervals)


# ---- power ----


def powers() -> Iterable[tuple[Any, ...]]:
    for name, n in SIZES.items():
        for flipping in SHARES:
            difference = power.detectable_share(flipping, n)
            found = percent(finds(n, flipping, difference))[1]
            yield name, f"{n:,}", f"{100 * flipping:g} %", f"{100 * difference:.2f}", found


def finds(n: int, flipping: float, difference: float) -> Iterable[bool]:
    won, lost = (flipping + difference) / 2, (flipping - difference) / 2
    drawn = np.random.default_rng(6).multinomial(n, [won, lost, 1 - flipping], size=DRAWS)
    tables, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    for (up, down), count in zip(tables.tolist(), times):
        yield from [up > down and statistics.mcnemar_exact(up, down) < ALPHA] * int(count)


if __name__ == "__main__":
    main()
