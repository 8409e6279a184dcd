"""Several cards weighed: who comes first by the user's weights, and how far these would have to move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from carrara.models.interval import Interval
from carrara.progress import Progress
from carrara.recipe import CostRecipe
from carrara.scorecard.assumed import USUAL, glance, plans_of
from carrara.scorecard.candidate import Candidate, find_candidates
from carrara.scorecard.card import Card, Told, kept_figures
from carrara.scorecard.figure import Criterion
from carrara.scorecard.rank import rank_field
from carrara.scorecard.weigh import Scores, Switch, Weights, switches, told_switches, total
from carrara.workspace import Workspace


@dataclass(frozen=True)
class Standing:
    """A card's score by the weights and by criterion, from 0 to 1 among all models that are known."""

    model: str
    score: Interval
    scores: Scores


@dataclass(frozen=True)
class Standings:
    """The cards by their scores, the best first."""

    ranked: tuple[Standing, ...]
    weights: Weights
    switches: tuple[Switch, ...]

    def of(self, card: Card) -> dict[str, Any]:
        """What the card's JSON says of its standing; `switches` are the same on each card."""
        places = (place for place, each in enumerate(self.ranked) if each.model == card.model)
        if (place := next(places, None)) is None:
            return {}
        own = self.ranked[place]
        criteria = {name: asdict(each) for name, each in own.scores.items()}
        moves = [
            {**asdict(each), "winner": None if each.winner is None else self.ranked[each.winner].model}
            for each in self.switches
        ]
        return {"standing": {"rank": place + 1, "score": asdict(own.score), "criteria": criteria, "switches": moves}}

    def sentences(self) -> list[str]:
        """Who leads, and for each criterion what its weight would have to be for another to."""
        first, *others = self.ranked
        is_apart = first.score.low > max(each.score.high for each in others)
        sure = "and its interval is above all others" if is_apart else "but the intervals overlap"
        scores = ", ".join(f"{each.model} {each.score.shown('{:.2f}'.format)}" for each in self.ranked)
        moves = told_switches(self.switches, [each.model for each in self.ranked])
        return [f"{first.model} comes first, {sure}: {scores}", *moves]


def stand(workspace: Workspace, cards: Sequence[Card], weights: Weights, progress: Progress) -> Standings | None:
    """Weigh cards against each other, each scored in the field of all models that are known (`rank.py`).

    None where fewer than two can be weighed.
    """
    candidates = find_candidates(workspace, progress)
    machine = glance(None)
    plans = [plans_of(candidate, USUAL, machine, CostRecipe()) for candidate in candidates]
    scored = rank_field(candidates, plans, "generate", {**kept_figures(workspace), **_told(cards)})
    found: list[Standing] = []
    for card in cards:
        place = next((place for place, each in enumerate(candidates) if _is_about(card, each)), None)
        if place is None:
            progress.say(
                f"{card.model} is not among the models that can be chosen, so it is not weighed against others"
            )
        else:
            found.append(Standing(card.model, total(scored[place], weights), scored[place]))
    if len(found) < 2:
        return None
    ranked = sorted(found, key=lambda each: (-each.score.likely, each.model))
    return Standings(tuple(ranked), weights, tuple(switches([each.scores for each in ranked], weights)))


def _told(cards: Sequence[Card]) -> dict[str, dict[Criterion, list[Told]]]:
    """What these very cards say, by the model's artefact, though others of the same models may be newer."""
    return {
        card.source: {
            name: [(card.rows if name == "accuracy" else "", figure) for figure in figures]
            for name, figures in card.criteria.items()
        }
        for card in cards
        if card.source
    }


def _is_about(card: Card, candidate: Candidate) -> bool:
    here = candidate.here.reference if candidate.here else None
    return card.source == here if card.source else card.model == candidate.name
