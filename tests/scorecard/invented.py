"""Cards, candidates and subjects that were made up, whose answers are known."""

from __future__ import annotations

from carrara.models import CatalogueModel, read_catalogue
from carrara.scorecard.candidate import Candidate
from carrara.scorecard.card import Card
from carrara.scorecard.figure import CRITERIA, Criterion, Figure, unknown


def entry(name: str = "smollm2-135m-instruct") -> CatalogueModel:
    return read_catalogue()[name]


def candidate(name: str = "smollm2-135m-instruct") -> Candidate:
    """The candidate of a catalogue entry that is not here."""
    own = entry(name)
    chats, writes = own.template is not None, own.architecture != "BertModel"
    return Candidate(own.name, own, None, own.shape, own.parameters, own.context, chats, writes)


def measured(measure: str, value: float, half: float = 0.1, unit: str = "", meaning: str = "Said plainly.") -> Figure:
    return Figure(measure, value, (value - half, value + half), "measured", "invented", unit, "higher", meaning)


def card(model: str, figures: dict[Criterion, list[Figure]] | None = None, base: str | None = None) -> Card:
    """A card with these figures; what is not named is unknown."""
    told = figures or {}
    criteria: dict[Criterion, tuple[Figure, ...]] = {
        name: tuple(told.get(name) or [unknown(name, "nobody looked")]) for name in CRITERIA
    }
    return Card(model, f"run/{model}", {"base": base} if base else {}, criteria, 1.0)
