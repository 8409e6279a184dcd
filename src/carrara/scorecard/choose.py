"""The stage: candidates are filtered by what cannot work, ranked by the five criteria, and one is recommended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from carrara.data.dataset import Dataset
from carrara.data.render.plan import Lengths
from carrara.models.catalogue import Licence
from carrara.models.interval import Interval
from carrara.models.machine import Machine
from carrara.models.plan import Plan
from carrara.progress import Progress
from carrara.recipe import CostRecipe
from carrara.scorecard.assumed import USUAL, glance, method_for, plans_of
from carrara.scorecard.candidate import Candidate, find_candidates
from carrara.scorecard.card import kept_figures
from carrara.scorecard.figure import CRITERIA
from carrara.scorecard.limits import Miss, find_misses, nobody_fits
from carrara.scorecard.needs import Needs
from carrara.scorecard.rank import rank_field
from carrara.scorecard.weigh import Scores, Switch, Weights, switches, total
from carrara.workspace import Workspace

_LETTERS, _BYTES = 4, 2  # of a token, about: ASCII letters, and bytes of all others in UTF-8
_TEMPLATE = 20  # tokens that a template adds to a row


@dataclass(frozen=True)
class Ranked:
    """A candidate with what speaks against it and how it scores; `rank` counts from 1, None where it does not fit."""

    candidate: Candidate
    misses: tuple[Miss, ...]
    plans: Mapping[str, Plan]
    method: str | None
    scores: Scores
    score: Interval
    rank: int | None

    @property
    def plan(self) -> Plan | None:
        """The plan of the method to take, or of the leanest one there is."""
        return self.plans.get(self.method or "qlora")

    @property
    def licence(self) -> Licence | None:
        return self.candidate.entry.licence if self.candidate.entry else None

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.candidate.name,
            "fits": not self.misses,
            "why_not": [miss.sentence for miss in self.misses],
            "rank": self.rank,
            "here": self.candidate.here is not None,
            "method": self.method,
            "score": asdict(self.score),
            "criteria": {name: asdict(each) for name, each in self.scores.items()},
        }


@dataclass(frozen=True)
class Choice:
    """All candidates, those that fit first, by rank; the weights, and how far they would have to move."""

    field: tuple[Ranked, ...]
    needs: Needs
    weights: Weights
    switches: tuple[Switch, ...]
    notes: tuple[str, ...]

    @property
    def fitting(self) -> tuple[Ranked, ...]:
        return tuple(each for each in self.field if each.rank)

    @property
    def winner(self) -> Ranked | None:
        return self.field[0] if self.field and self.field[0].rank else None

    @property
    def close(self) -> list[str]:
        """Who may be as good as the winner: those whose intervals reach its score."""
        rest = self.fitting[1:]
        return [each.candidate.name for each in rest if self.winner and each.score.high >= self.winner.score.likely]

    def refusal(self) -> str:
        """Why nobody fits, in a sentence."""
        return nobody_fits([each.candidate.name for each in self.field], [each.misses for each in self.field])

    def to_json(self) -> dict[str, Any]:
        return {
            "needs": asdict(self.needs),
            "weights": dict(self.weights),
            "candidates": [each.to_json() for each in self.field],
            "recommendation": self._recommendation(),
            "switches": [
                {**asdict(each), "winner": None if each.winner is None else self.field[each.winner].candidate.name}
                for each in self.switches
            ],
            "notes": [*self.notes],
        }

    def _recommendation(self) -> dict[str, Any] | None:
        if self.winner is None:
            return None
        plan = self.winner.plan if self.winner.method else None
        licence = self.winner.licence
        return {
            "model": self.winner.candidate.name,
            "method": self.winner.method,
            "plan": plan.to_json() if plan else None,
            "close": self.close,
            "licence": licence.model_dump() if licence else None,
        }


def choose_model(
    workspace: Workspace, needs: Needs, dataset: Dataset | None, weights: Weights, cost: CostRecipe, progress: Progress
) -> Choice:
    """Filter and rank the catalogue and what is in the workspace, without loading or fetching a model.

    Scores come from what was published and from cards that were measured before (`rank.py`); plans from assumed rates
    (`assumed.py`), for the dataset's rows or for a thousand rows of 256 tokens.
    """
    rows = _lengths(dataset) if dataset else USUAL
    machine = glance(needs.memory)
    candidates = find_candidates(workspace, progress)
    plans = [plans_of(candidate, _cut(rows, candidate), machine, cost) for candidate in candidates]
    kept = kept_figures(workspace, dataset.artefact.digest if dataset else None)
    scored = rank_field(candidates, plans, needs.task, kept)
    field = [
        _judged(candidate, needs, own, _cut(rows, candidate), scores, weights)
        for candidate, own, scores in zip(candidates, plans, scored, strict=True)
    ]
    ordered = _in_order(field)
    moves = switches([each.scores for each in ordered if each.rank], weights) if ordered and ordered[0].rank else []
    return Choice(tuple(ordered), needs, weights, tuple(moves), tuple(_notes(dataset, rows, ordered, machine)))


def _judged(
    candidate: Candidate,
    needs: Needs,
    plans: Mapping[str, Plan],
    rows: Lengths,
    scores: Scores,
    weights: Weights,
) -> Ranked:
    misses = tuple(find_misses(candidate, needs, plans))
    method = method_for(candidate, plans, rows, needs.budget)
    return Ranked(candidate, misses, plans, method, scores, total(scores, weights), None)


def _in_order(field: Sequence[Ranked]) -> list[Ranked]:
    """Those that fit by their scores, with ranks, then the others by name."""
    fitting = sorted((each for each in field if not each.misses), key=lambda e: (-e.score.likely, e.candidate.name))
    fallen = sorted((each for each in field if each.misses), key=lambda each: each.candidate.name)
    return [*(replace(each, rank=rank) for rank, each in enumerate(fitting, 1)), *fallen]


def _lengths(dataset: Dataset) -> Lengths:
    """The tokens of the dataset's rows, told from their letters, since no tokenizer is loaded."""
    train, answers, everything = [], 0, 0
    for example in dataset.each("train"):
        tokens = sum(_tokens(message.text) for message in example.messages)
        train.append(tokens + _TEMPLATE)
        answers, everything = answers + _tokens(example.answer), everything + tokens
    held = [sum(map(_tokens, example.texts)) + _TEMPLATE for example in dataset.each("validation")]
    return Lengths(train, held, answers / max(1, everything))


def _tokens(text: str) -> int:
    plain = len(text.encode("ascii", "ignore"))
    return plain // _LETTERS + (len(text.encode("utf-8", "surrogatepass")) - plain) // _BYTES


def _cut(rows: Lengths, candidate: Candidate) -> Lengths:
    """The rows as the candidate would be tuned on them: no longer than what it holds."""
    context = candidate.context or math.inf
    train, held = ([int(min(each, context)) for each in split] for split in (rows.train, rows.validation))
    return replace(rows, train=train, validation=held)


def _notes(dataset: Dataset | None, rows: Lengths, field: Sequence[Ranked], machine: Machine) -> list[str]:
    """What a reader must know beside the figures."""
    notes: list[str] = []
    first = field[0] if field and field[0].rank else None
    if first and first.method and first.plan and first.plan.memory.high > machine.working_memory:
        room = f"{machine.working_memory / 1e9:.1f} GB"
        notes.append(
            f"{first.candidate.name} may need more memory than {room}; tune with tune.micro_batch_tokens: auto."
        )
    if dataset:
        notes.append(
            f"The rows are taken for {sum(rows.train):,} tokens, by their letters; `carrara tune` counts them first."
        )
    if first and first.candidate.context and (cut := sum(each > first.candidate.context for each in rows.train)):
        notes.append(
            f"{cut:,} of {len(rows.train):,} training rows look longer than the {first.candidate.context:,} tokens "
            f"that {first.candidate.name} holds; what is over would be cut: split them, or ask for more with --context."
        )
    if dataset and next(dataset.each("test"), None) is None:
        notes.append(
            f"{dataset.artefact.name} has no held-out rows, so no candidate can be measured on it; prepare it with "
            "prepare.test above 0."
        )
    blind = [name for name in CRITERIA if all(each.scores[name].kind == "unknown" for each in field)]
    if blind:
        notes.append(f"Of {' and '.join(blind)} nothing is known of anybody; only a card measures it.")
    here = [each.candidate.name for each in field if each.candidate.here and each.rank]
    if here:
        notes.append(f"In the workspace, and measured by `carrara scorecard`: {', '.join(here[:5])}.")
    return notes
