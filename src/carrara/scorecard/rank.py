"""From figures to scores: every criterion of every candidate as a number from 0 to 1 with an interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, replace
from statistics import fmean, pstdev

from carrara.models.fitted import TIME_SPREAD
from carrara.models.interval import Interval
from carrara.models.plan import Plan
from carrara.scorecard.candidate import Candidate
from carrara.scorecard.card import Told, published_figures
from carrara.scorecard.figure import BASE, CHANGE, CRITERIA, Criterion, Figure, Kind
from carrara.scorecard.meta_analysis import Column, abilities, logit, scores
from carrara.scorecard.needs import Task
from carrara.scorecard.weigh import Score

# Standard deviations of published scores and of models of one size, on the scale of `logit`. With these, 97 % of the
# catalogue's 217 scores that share a protocol lie in the 95 % interval that is foretold when their model has none.
_NOISE, _SPREAD = 0.2, 0.3
_PART = 0.7  # how far one measure may be from its criterion, in standard deviations of the measure
_NOTABLE = 0.1  # of a measure's largest value, below which differences count for less than a standard deviation
_Z90, _Z95 = 1.645, 1.96
_SIMILARITY = "stsb"  # the one benchmark of similarity that the catalogue has scores of
_TOLD: tuple[Criterion, ...] = ("accuracy", "creativity", "privacy", "ease_of_use")

_COMMERCIAL = {"yes": 2, "conditional": 1, "no": 0}
_KINDS: tuple[Kind, ...] = ("measured", "published", "derived")  # the best first

Known = Mapping[Criterion, Sequence[Told]]


def rank_field(
    candidates: Sequence[Candidate],
    plans: Sequence[Mapping[str, Plan]],
    task: Task,
    kept: Mapping[str, Mapping[Criterion, Sequence[Told]]],
) -> list[dict[Criterion, Score]]:
    """The scores of each candidate; `kept` holds what cards measured, by the model's artefact.

    A score is the share of the field that a candidate is better than, as `meta_analysis.scores` tells it, so that
    criteria can be added up. Four criteria are told from figures that say which end is good: a figure counts by how it
    differs from those of the same measure, published ones of the same benchmark, metric, shots and protocol; never
    across protocols (`meta_analysis.abilities`). Accuracy grows with size as far as the published scores show, so a
    model without scores stands where its size lets expect, with a wide interval. What the catalogue says of licence,
    context and template counts for privacy and ease of use. Cost is the time of tuning with LoRA; on one machine energy
    and money follow it.
    """
    known = [_known(candidate, task, kept) for candidate in candidates]
    _lend_to_bases(candidates, known)
    found: dict[Criterion, list[Interval]] = {}
    for criterion in CRITERIA:
        if criterion == "cost":
            found[criterion] = scores([_cheapness(each, own, task) for each, own in zip(candidates, plans)])
        elif criterion == "accuracy":
            found[criterion] = scores(_accuracy(candidates, known, task))
        else:
            columns = [_column(group) for group in _alike([each[criterion] for each in known])]
            found[criterion] = scores(abilities(columns, [0.0] * len(candidates), 1.0))
    return [
        {name: Score(**asdict(found[name][place]), kind=kind) for name, kind in kinds.items()}
        for place, kinds in enumerate(_kinds(candidates, known, task))
    ]


def _kinds(candidates: Sequence[Candidate], known: Sequence[Known], task: Task) -> list[dict[Criterion, Kind]]:
    """The best kind among what each score was told from; of accuracy, what size lets expect is derived."""
    found: list[dict[Criterion, set[Kind]]] = [{name: set() for name in CRITERIA} for _ in candidates]
    for kinds in found:
        kinds["cost"].add("derived")
        if task != "similarity":
            kinds["accuracy"].add("derived")
    for criterion in _TOLD:
        for group in _alike([each[criterion] for each in known]):
            for place, figure in group.items():
                if criterion != "accuracy" or figure.kind == "measured":
                    found[place][criterion].add(figure.kind)
    for group in _published(candidates, task).values():
        for place in group:
            found[place]["accuracy"].add("published")
    return [{name: _best(kinds) for name, kinds in each.items()} for each in found]


def _best(kinds: Set[Kind]) -> Kind:
    for kind in _KINDS:
        if kind in kinds:
            return kind
    return "unknown"


def _known(
    candidate: Candidate, task: Task, kept: Mapping[str, Mapping[Criterion, Sequence[Told]]]
) -> dict[Criterion, list[Told]]:
    """What a card of the candidate found before, else what was published of it."""
    published = published_figures(candidate.published, _TOLD) if candidate.published else {}
    own = kept.get(candidate.here.reference, {}) if candidate.here else {}
    facts = _facts(candidate, task)
    return {
        name: [*(own.get(name) or [("", each) for each in published.get(name, ())]), *facts.get(name, ())]
        for name in _TOLD
    }


def _facts(candidate: Candidate, task: Task) -> dict[Criterion, list[Told]]:
    """What is known of any candidate without a card, as figures that are only compared with each other.

    Who turns texts into vectors needs no template, and how long a text may be is a limit of its own.
    """
    licence = candidate.entry.licence if candidate.entry else None
    facts: list[tuple[Criterion, str, float]] = []
    if licence and licence.source:
        facts.append(("privacy", "fact: licence", _COMMERCIAL[licence.commercial]))
    if task != "similarity":
        facts.append(("ease_of_use", "fact: template", float(candidate.chats)))
    if task != "similarity" and candidate.context:
        facts.append(("ease_of_use", "fact: context", math.log2(candidate.context)))
    found: dict[Criterion, list[Told]] = {}
    for criterion, name, value in facts:
        figure = Figure(name, value, None, "published", "the catalogue or the model's files", better="higher")
        found.setdefault(criterion, []).append(("", figure))
    return found


def _lend_to_bases(candidates: Sequence[Candidate], known: Sequence[dict[Criterion, list[Told]]]) -> None:
    """Give bases what their runs' cards measured of their discretion, or no run would ever be found to leak more."""
    places = {candidate.here.reference: place for place, candidate in enumerate(candidates) if candidate.here}
    for candidate, own in zip(candidates, known, strict=True):
        base = places.get(candidate.here.inputs["model"]) if candidate.here and candidate.is_run else None
        if base is None:
            continue
        better = {figure.measure: figure.better for _, figure in own["privacy"]}
        for asked, figure in own["privacy"]:
            measure = figure.measure.removesuffix(BASE)
            if measure != figure.measure and better.get(measure):
                lent = replace(figure, measure=measure, better=better[measure])
                known[base]["privacy"].append((asked, lent))


def _cheapness(candidate: Candidate, plans: Mapping[str, Plan], task: Task) -> Interval:
    """The logarithm of the time of tuning, the less the better; for similarity that of the size, as many are not tuned.

    How fast the machine is moves all candidates alike, so only what the planner may miss of each makes the interval.
    """
    is_tuned = plans and task != "similarity"
    value = -math.log(plans["lora"].seconds.likely if is_tuned else candidate.parameters * 1e-6)
    spread, sides = TIME_SPREAD["cpu"], _Z95 / _Z90  # the planner's intervals are of 90 %
    return Interval(value, value - math.log(spread.high) * sides, value - math.log(spread.low) * sides)


def _accuracy(candidates: Sequence[Candidate], known: Sequence[Known], task: Task) -> list[Interval]:
    """From published scores by protocol, and from what was measured of those on the same rows."""
    columns = [Column(values, dict.fromkeys(values, _NOISE)) for values in _published(candidates, task).values()]
    own = _alike([[told for told in each["accuracy"] if told[1].kind == "measured"] for each in known])
    scaled = [Column(_scaled(each.values), _scaled(each.noise)) for each in map(_column, own)]
    sizes = [math.log2(each.parameters) if task != "similarity" else 0.0 for each in candidates]
    return abilities([*columns, *scaled], sizes, _SPREAD)


def _published(candidates: Sequence[Candidate], task: Task) -> dict[tuple[object, ...], dict[int, float]]:
    """The published scores that tell of the task, by what has to be alike for two to be compared."""
    groups: dict[tuple[object, ...], dict[int, float]] = {}
    for place, candidate in enumerate(candidates):
        for score in candidate.published.scores if candidate.published else ():
            is_asked = (score.benchmark == _SIMILARITY) == (task == "similarity")
            if is_asked and score.source.strip():  # what names no source was published nowhere
                key = (score.benchmark, score.metric, score.shots, score.protocol)
                groups.setdefault(key, {})[place] = logit(score.value)
    return groups


def _scaled(values: Mapping[int, float]) -> dict[int, float]:
    return {place: _SPREAD * value for place, value in values.items()}


def _alike(known: Sequence[Sequence[Told]]) -> list[dict[int, Figure]]:
    """The figures of each measure that at least two candidates have, by the candidate's place."""
    groups: dict[tuple[str, ...], dict[int, Figure]] = {}
    for place, found in enumerate(known):
        for asked, figure in found:
            counts = isinstance(figure.value, (bool, int, float)) and figure.better
            if counts and not figure.measure.endswith((BASE, CHANGE)):
                groups.setdefault((figure.measure, figure.unit, figure.kind, asked), {})[place] = figure
    return [group for group in groups.values() if len(group) > 1]


def _column(group: Mapping[int, Figure]) -> Column:
    """In standard deviations of the measure, or in tenths of its largest value where they differ by less."""
    numbers = {place: float(figure.value or 0) for place, figure in group.items()}
    largest = max(map(abs, numbers.values()))
    middle, width = fmean(numbers.values()), max(pstdev(numbers.values()), _NOTABLE * largest) or 1.0
    sign = 1 if next(iter(group.values())).better == "higher" else -1
    noise = {place: math.hypot(_PART, _error(figure) / width) for place, figure in group.items()}
    return Column({place: sign * (number - middle) / width for place, number in numbers.items()}, noise)


def _error(figure: Figure) -> float:
    """The standard error that an interval of 95 % tells of; none where there is no interval."""
    return (figure.interval[1] - figure.interval[0]) / (2 * _Z95) if figure.interval else 0.0
