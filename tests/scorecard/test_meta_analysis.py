"""Standing: scores of different protocols tell only by their differences, and what is unknown is wide, not 0."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest

from carrara.models import read_catalogue
from carrara.scorecard.meta_analysis import Column, abilities, logit, scores


def _column(values: dict[int, float], noise: float = 0.2) -> Column:
    return Column(values, dict.fromkeys(values, noise))


def test_a_protocol_that_gives_everybody_more_moves_nobody() -> None:
    columns = [{0: 0.1, 1: 0.6}, {1: 0.2, 2: 0.9}]
    kinder = [columns[0], {place: value + 5 for place, value in columns[1].items()}]
    plain, moved = (abilities([_column(each) for each in own], [0.0] * 3, 1.0) for own in (columns, kinder))
    assert [each.likely for each in moved] == pytest.approx([each.likely for each in plain], abs=0.05)
    assert plain[2].likely > plain[1].likely > plain[0].likely


def test_candidates_without_a_common_protocol_are_compared_by_way_of_others_and_less_surely() -> None:
    near = abilities([_column({0: 0.0, 1: 1.0}), _column({1: 0.0, 2: 1.0})], [0.0] * 3, 1.0)
    apart = abilities([_column({0: 0.0, 1: 1.0}), _column({2: 1.0, 3: 0.0})], [0.0] * 4, 1.0)
    assert near[2].likely > near[1].likely > near[0].likely
    assert apart[2].likely == pytest.approx(apart[1].likely, abs=1e-6)  # nothing links the two columns


def test_a_score_that_stands_alone_tells_nothing() -> None:
    found = abilities([_column({0: 3.0}), _column({1: -3.0})], [0.0] * 2, 1.0)
    assert found[0].likely == pytest.approx(found[1].likely, abs=0.1)


def test_an_unknown_candidate_stands_in_the_middle_with_a_wide_interval() -> None:
    found = scores(abilities([_column({0: -1.0, 1: 1.0})], [0.0] * 3, 1.0))
    assert found[2].likely == pytest.approx(0.5, abs=0.01)
    assert found[2].low < 0.1
    assert found[2].high > 0.9
    assert found[0].likely < 0.5 < found[1].likely
    assert found[0].high - found[0].low < found[2].high - found[2].low


def test_the_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    draw = random.Random(1)
    hits, asked = 0, 0
    for _ in range(60):
        truth = [draw.gauss(0, 1) for _ in range(12)]
        level = [draw.gauss(0, 3) for _ in range(6)]
        columns: list[Column] = []
        for own in level:
            places = draw.sample(range(12), 5)
            columns.append(_column({place: own + truth[place] + draw.gauss(0, 0.3) for place in places}, 0.3))
        found = abilities(columns, [0.0] * 12, 1.0)
        hits += sum(each.low <= value <= each.high for each, value in zip(found, truth, strict=True))
        asked += 12
    assert 0.92 <= hits / asked <= 0.98


def test_hidden_published_scores_lie_where_the_others_let_expect() -> None:
    """Each model of the catalogue in turn without its scores: those are then foretold with 95 % intervals."""
    models = [each for each in read_catalogue().values() if each.architecture != "BertModel"]
    table: dict[tuple[object, ...], dict[int, float]] = {}
    for place, model in enumerate(models):
        for score in model.scores:
            key = (score.benchmark, score.metric, score.shots, score.protocol)
            table.setdefault(key, {})[place] = logit(score.value)
    sizes = [math.log2(model.parameters) for model in models]
    hits: list[bool] = []
    for hidden in range(0, len(models), 4):
        rest = [{place: value for place, value in own.items() if place != hidden} for own in table.values()]
        found = abilities([_column(own) for own in rest if own], sizes, 0.3)
        for own in table.values():
            others = [place for place in own if place != hidden]
            if hidden in own and others:
                level = fmean(own[place] - found[place].likely for place in others)
                half = math.hypot(found[hidden].high - found[hidden].likely, 1.96 * 0.2)
                hits.append(abs(own[hidden] - level - found[hidden].likely) <= half)
    assert len(hits) > 30
    assert fmean(hits) >= 0.9
