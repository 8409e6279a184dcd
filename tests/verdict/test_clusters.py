"""Items that share a source count as one draw of chance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from carrara.evaluate.scores import Record
from carrara.verdict import clusters, statistics
from carrara.verdict.compare import TaskVerdict, compare

from .invented import answers, flips, scores, texts

CLUSTERS, SIZE = 40, 10


def _clustered(records: list[Record], size: int = SIZE) -> list[Record]:
    return [replace(record, cluster=f"source {record.item // size}") for record in records]


def _compared(before: list[Record], after: list[Record]) -> TaskVerdict:
    return compare(scores(before), scores(after)).verdicts[0]


def test_groups_number_the_clusters() -> None:
    names = ["a", "", "b", "a", ""]
    records = [replace(record, cluster=name) for record, name in zip(answers("mmlu", [True] * 5), names, strict=True)]
    groups = clusters.groups_of(records)
    assert groups is not None
    assert groups.tolist() == [0, 1, 2, 0, 3]
    assert clusters.sums(np.array([1.0, 2, 3, 4, 5]), groups).tolist() == [5, 2, 3, 5]


def test_items_that_stand_alone_are_no_groups() -> None:
    assert clusters.groups_of(answers("mmlu", [True] * 5)) is None
    assert clusters.groups_of(_clustered(answers("mmlu", [True] * 5), size=1)) is None
    values = np.array([1.0, 2])
    assert clusters.sums(values, None) is values


def test_clusters_of_one_item_change_nothing() -> None:
    before, after = flips("mmlu", 200, 20, 8)
    assert _compared(_clustered(before, 1), _clustered(after, 1)) == _compared(before, after)


def test_flips_of_one_cluster_are_one_piece_of_evidence() -> None:
    """12 wins and no loss are certain alone, but may be chance if 4 sources hold them all."""
    before, after = flips("mmlu", 120, won=12, lost=0)
    alone, clustered = _compared(before, after), _compared(_clustered(before, 3), _clustered(after, 3))
    assert (alone.verdict, alone.clusters) == ("better", 0)
    assert (clustered.verdict, clustered.clusters, clustered.n) == ("no worse", 40, 120)
    assert clustered.p == pytest.approx(2 / 2**4, abs=0.02)
    assert clustered.delta == alone.delta
    assert (clustered.won, clustered.lost) == (12, 0)
    assert clustered.ci[0] <= alone.ci[0]
    assert clustered.ci[1] >= alone.ci[1]
    assert clustered.detectable > alone.detectable


def test_an_interval_keeps_a_width_where_nothing_flips() -> None:
    before, after = flips("mmlu", 120, 0, 0)
    low, high = _compared(_clustered(before), _clustered(after)).ci
    assert low < -0.01
    assert high > 0.01


def test_means_and_ratios_use_sums_of_clusters() -> None:
    generator = np.random.default_rng(0)
    before, change = generator.uniform(10, 40, 120), np.repeat(generator.normal(-1, 2, 12), 10)
    for task in ("heldout", "truthfulqa_mc2"):
        base, tuned = texts(task, before), texts(task, before + change)
        row = _compared(_clustered(base), _clustered(tuned))
        per_cluster, weights = change.reshape(12, 10).sum(1), np.full(12, 100.0 if task == "heldout" else 10.0)
        assert row.clusters == 12
        assert row.p == pytest.approx(statistics.sign_flip_p(per_cluster), abs=1e-3)
        assert row.ci == pytest.approx(statistics.bootstrap_interval(per_cluster, weights), rel=1e-6)
        assert row.p > _compared(base, tuned).p


def test_a_single_cluster_tells_nothing() -> None:
    before, after = (_clustered(side, 100) for side in flips("mmlu", 100, 20, 0))
    verdict = compare(scores(before), scores(after))
    assert verdict.verdicts == []
    assert verdict.notes == ["mmlu has a single cluster of items and was left out; a comparison needs at least 2."]


def test_false_verdicts_on_strongly_correlated_items() -> None:
    """A/A with sources whose items flip together: McNemar takes them for many tosses, the cluster test for one."""
    generator = np.random.default_rng(1)
    plain = clustered = 0
    groups = np.repeat(np.arange(CLUSTERS), SIZE)
    for _ in range(1000):
        direction = np.repeat(generator.choice([-1, 1], CLUSTERS), SIZE)
        flipped = direction * (generator.random(CLUSTERS * SIZE) < 0.3)
        won, lost = int(np.sum(flipped > 0)), int(np.sum(flipped < 0))
        plain += statistics.mcnemar_exact(won, lost) < 0.05
        clustered += statistics.sign_flip_p(clusters.sums(flipped.astype(float), groups)) < 0.05
    assert plain > 0.2 * 1000
    assert clustered <= 0.064 * 1000  # 5 % and 2 standard errors


def test_intervals_cover_with_clusters_of_unlike_size() -> None:
    generator = np.random.default_rng(2)
    covered = naive = 0
    for _ in range(100):
        sizes = generator.integers(2, 20, 30)
        groups = np.repeat(np.arange(30), sizes)
        values = np.repeat(generator.normal(0.1, 1, 30), sizes) + generator.normal(0, 0.5, len(groups))
        ones = np.ones(len(groups))
        low, high = statistics.bootstrap_interval(clusters.sums(values, groups), clusters.sums(ones, groups))
        covered += low <= 0.1 <= high
        low, high = statistics.bootstrap_interval(values, ones)
        naive += low <= 0.1 <= high
    assert covered >= 0.91 * 100
    assert naive < 0.7 * 100
