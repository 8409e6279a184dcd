"""Weights of the five criteria: read, applied, and how far they would have to move to change the winner."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from carrara.errors import Refusal
from carrara.models.interval import Interval
from carrara.scorecard.figure import CRITERIA, Criterion, Kind

_EVEN = 1e-9  # scores that differ by less are alike but for rounding

Weights = Mapping[Criterion, float]


@dataclass(frozen=True)
class Score(Interval):
    """A score from 0 to 1 with the best kind of figure that it was told from; unknown where there was none."""

    kind: Kind = "derived"


Scores = Mapping[Criterion, Score]


@dataclass(frozen=True)
class Switch:
    """The weight of a criterion at which another candidate would come first, the others' weights as they are.

    `weight` is what it is now, `at` the nearest such weight and `winner` the candidate's place; both None where no
    weight of this criterion alone changes the winner.
    """

    criterion: Criterion
    weight: float
    at: float | None
    winner: int | None


def read_weights(text: str | None) -> dict[Criterion, float]:
    """Weights such as `accuracy=3,cost=1`, 1 for each criterion that is not named; raises Refusal."""
    weights: dict[Criterion, float] = dict.fromkeys(CRITERIA, 1.0)
    named: set[Criterion] = set()
    for part in text.split(",") if text is not None else []:
        name, _, number = (piece.strip() for piece in part.partition("="))
        criterion = _criterion(name, part)
        if criterion in named:
            raise Refusal(f"--weights names {criterion} twice; give each criterion one weight.")
        named.add(criterion)
        weights[criterion] = _weight(criterion, number)
    if not any(weights.values()):
        raise Refusal("--weights gives every criterion 0, so nothing decides; give one of them more.")
    return weights


def _criterion(name: str, part: str) -> Criterion:
    for criterion in CRITERIA:
        if name == criterion:
            return criterion
    raise Refusal(f"--weights: '{part.strip()}' names no criterion; write {'=1, '.join(CRITERIA)}=1 or some of them.")


def _weight(criterion: Criterion, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < math.inf:
        raise Refusal(f"--weights: {criterion} has a number of 0 or more, such as {criterion}=3, not '{text}'.")
    return weight


def total(scores: Scores, weights: Weights) -> Interval:
    """The weighted mean of the criteria, with an interval as if their errors had nothing to do with each other."""
    every = sum(weights.values())
    likely = sum(weights[name] * each.likely for name, each in scores.items()) / every
    below = math.hypot(*(weights[name] * (each.likely - each.low) for name, each in scores.items())) / every
    above = math.hypot(*(weights[name] * (each.high - each.likely) for name, each in scores.items())) / every
    return Interval(likely, max(0.0, likely - below), min(1.0, likely + above))


def switches(ranked: Sequence[Scores], weights: Weights) -> list[Switch]:
    """For each criterion the smallest move of its weight that changes the winner, who is the first of `ranked`.

    A lead is a sum over criteria of weight times difference, so it is a straight line in each weight.
    """
    return [_switch(ranked, weights, criterion) for criterion in CRITERIA]


def told_switches(found: Sequence[Switch], names: Sequence[str]) -> list[str]:
    """A sentence for each weight whose move changes the winner, and one for all the others."""
    told = [
        f"{each.criterion} = {each.weight:g}: at {each.at:.3g}, {names[each.winner]} would come first"
        for each in found
        if each.at is not None and each.winner is not None
    ]
    still = [each.criterion for each in found if each.at is None]
    return [*told, *([f"{', '.join(still)}: no other weight of one alone changes who comes first"] if still else [])]


def _switch(ranked: Sequence[Scores], weights: Weights, criterion: Criterion) -> Switch:
    found: list[tuple[float, float, int]] = []  # how far, to which weight, who then wins
    for place, rival in enumerate(ranked[1:], 1):
        leads: dict[Criterion, float] = {name: ranked[0][name].likely - rival[name].likely for name in CRITERIA}
        if abs(leads[criterion]) < _EVEN:
            continue
        move = -sum(weights[name] * lead for name, lead in leads.items()) / leads[criterion]
        others = any(weight for name, weight in weights.items() if name != criterion)
        if weights[criterion] + move >= 0 and others:  # without others, nothing decides at 0
            found.append((abs(move), weights[criterion] + move, place))
    if not found:
        return Switch(criterion, weights[criterion], None, None)
    _, at, winner = min(found)
    return Switch(criterion, weights[criterion], at, winner)
