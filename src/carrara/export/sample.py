"""The score on a part of the task that the model was scored on: the same items, asked of both, compared in pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.evaluate.ask import ask
from carrara.evaluate.blocks import cut_into_blocks, score_items
from carrara.evaluate.protocol import find_protocol
from carrara.evaluate.run import ITEMS, latest_scores
from carrara.evaluate.scorer import Scorer
from carrara.evaluate.scores import Record, Scores, read_scores
from carrara.evaluate.sheet import Sheet, choice_sheet, heldout_sheet
from carrara.export.checks.answers import bounds_of
from carrara.export.checks.check import Check, Form, at_most
from carrara.models import Model
from carrara.models.load import Loaded
from carrara.progress import Progress
from carrara.recipe import EvaluateRecipe
from carrara.tasks import BENCHMARKS, HELDOUT
from carrara.tasks.sources import benchmark_at_hand
from carrara.verdict.measures import LOSS, Measure, measures_of, value_of
from carrara.verdict.statistics import bootstrap_interval, mcnemar_exact
from carrara.workspace import Workspace

SCORE = "task score"
NOTHING = "no task score: the workspace holds neither enough scored questions at hand nor rows held out for this model"
_ITEMS, _TOKENS = 50, 1400  # at most; in float32 two cores read so much, twice, in 20 seconds with SmolLM2-135M
_LEAST = 12  # items: of fewer, hardly any loss could be told from chance
_CHANCE = 0.01  # flips that are less likely than this in one direction are no chance


@dataclass(frozen=True)
class Sample:
    """A task to be asked about, and the measure that decides: one of right and wrong answers, or the loss."""

    task: str
    sheet: Callable[[Loaded], Sheet]
    measure: Measure


def find_samples(workspace: Workspace, model: Model, progress: Progress) -> Iterator[Sample]:
    """The tasks with choices that the model was last scored on, then its held-out rows. Nothing is fetched."""
    scores = _scores_of(workspace, model)
    for task in scores.tasks() if scores else ():
        assert scores is not None
        measures = [each for each in measures_of(task, scores.of(task)) if each.kind == "binary"]
        if task in BENCHMARKS and BENCHMARKS[task].kind == "choice" and measures:
            try:
                yield Sample(task, _asked_again(workspace, scores, task, progress), measures[0])
            except Refusal:  # its questions are not at hand any more
                continue
    if "dataset" in model.source.inputs:
        dataset = Dataset(workspace.get(model.source.inputs["dataset"]))
        if next(iter(dataset.each("test")), None):
            yield Sample(HELDOUT, partial(heldout_sheet, heldout=dataset, progress=progress), LOSS)


def score_sample(
    samples: Iterator[Sample], scored: Loaded, exported: Loaded, form: Form, progress: Progress
) -> Iterator[Check]:
    """The check of the first sample that can show a loss, as soon as it is asked for; none where there is no such."""
    for sample in samples:
        places = _few(sample.sheet(scored))
        is_binary = sample.measure.kind == "binary"
        if len(places) >= (_LEAST if is_binary else 2):
            progress.say(f"scoring both on a part of {sample.task}")
            before, after = (_records(loaded, sample, places, progress) for loaded in (scored, exported))
            check = _flips if is_binary else _loss
            yield check(sample, scored, form, list(zip(before, after, strict=True)))
            return


def _scores_of(workspace: Workspace, model: Model) -> Scores | None:
    for name in (model.name, model.source.reference):
        kind, _, identity = (workspace.index.alias(latest_scores(name)) or "").partition("/")
        if found := workspace.find(kind, identity) if identity else None:
            scores = read_scores(found.path / ITEMS)
            if all(scores.receipt.get(key) == value for key, value in model.identity().items()):
                return scores
    return None


def _asked_again(workspace: Workspace, scores: Scores, name: str, progress: Progress) -> Callable[[Loaded], Sheet]:
    """The items of a benchmark that were scored, as they were asked; raises Refusal where they are not at hand."""
    task, shots = BENCHMARKS[name], scores.receipt["tasks"][name]["shots"]
    for file in (task.file, task.notes_file, task.train_file if shots else None):
        if file:
            benchmark_at_hand(workspace, file, None)
    protocol = find_protocol(scores.receipt["protocol"]["name"])
    questions = ask(workspace, name, protocol, EvaluateRecipe(tasks=(name,), shots=shots), None, progress)
    known = {record.item for record in scores.of(name)}
    wanted = [asked.position in known for asked in questions.order]
    return partial(choice_sheet, questions=replace(questions, wanted=wanted), protocol=protocol, keep=False)


def _few(sheet: Sheet) -> list[int]:
    """The places of the first items that are wanted, as many as are read in good time."""
    chosen: list[int] = []
    tokens = 0
    for place in (place for place, is_wanted in enumerate(sheet.wanted) if is_wanted):
        tokens += sum(len(row.ids) for row in sheet.make(place).rows)
        if chosen and (tokens > _TOKENS or len(chosen) == _ITEMS):
            break
        chosen.append(place)
    return chosen


def _records(loaded: Loaded, sample: Sample, places: Sequence[int], progress: Progress) -> list[Record]:
    sheet = sample.sheet(loaded)
    wanted = [place in places for place in range(len(sheet.wanted))]
    return score_items(Scorer(loaded), sample.task, sheet.make, wanted, cut_into_blocks(places), progress)


def _flips(sample: Sample, _: Loaded, form: Form, pairs: Sequence[tuple[Record, Record]]) -> Check:
    """By how much fewer answers are right, as a share of all; bounded by what so many flips may do by chance."""
    right = [[bool(value_of(record, sample.measure.field)) for record in pair] for pair in pairs]
    lost, won = (sum(one and not other for one, other in right), sum(other and not one for one, other in right))
    flips = lost + won
    allowed = max(
        (
            off
            for off in range(flips % 2, flips + 1, 2)
            if mcnemar_exact((flips + off) // 2, (flips - off) // 2) >= _CHANCE
        ),
        default=0,
    )
    count, before, after = len(pairs), *(sum(side) for side in zip(*right, strict=True))
    fact = f"{after} of {count} items of {sample.task} are answered right, and {before} by the scored model"
    return _judged(sample, form, at_most(_name(count), (lost - won) / count, allowed / count, fact))


def _loss(sample: Sample, scored: Loaded, form: Form, pairs: Sequence[tuple[Record, Record]]) -> Check:
    """By how much the loss grows, in nats a token; bounded by what the form may do and half the interval around it."""
    grown = [after.value - before.value for before, after in pairs]
    tokens = [before.tokens for before, _ in pairs]
    low, high = bootstrap_interval(grown, tokens) if len(pairs) > 1 else (0.0, 0.0)
    before = sum(record.value for record, _ in pairs) / sum(tokens)
    allowed = math.log1p(bounds_of(form, before, scored.network.config.vocab_size).perplexity)
    change = sum(grown) / sum(tokens)
    fact = f"the loss on {len(pairs)} rows held out changes from {before:.4g} to {before + change:.4g} nats a token"
    return _judged(sample, form, at_most(_name(len(pairs)), change, allowed + (high - low) / 2, fact))


def _name(count: int) -> str:
    return f"{SCORE} on {count} items"


def _judged(sample: Sample, form: Form, check: Check) -> Check:
    """The check; where it fails, its note says why, for weights and answers were looked at before."""
    if check.holds:
        return check
    note = f"{form} changes the score on {sample.task} by more than chance: {check.note}; do not use it."
    return replace(check, note=note)
