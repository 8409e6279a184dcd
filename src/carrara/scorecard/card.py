"""The stage: the card of a model, criterion by criterion, each measured once and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from carrara.errors import Refusal
from carrara.models import CatalogueModel, Reference, parse_reference, read_catalogue
from carrara.models.machine import give_back_memory
from carrara.progress import Progress
from carrara.scorecard import accuracy, cost, creativity, ease_of_use, privacy
from carrara.scorecard.cost import Prices
from carrara.scorecard.figure import CRITERIA, Criterion, Figure, figure_from_json, unknown
from carrara.scorecard.subject import Pair, Subject, find_subject, load_pair
from carrara.workspace import Artefact, Draft, Workspace

_FIGURES = "figures.json"
_PULL = "`carrara models pull` fetches it, then `carrara scorecard` measures it."
_ROOMS = {
    "accuracy": accuracy,
    "creativity": creativity,
    "privacy": privacy,
    "ease_of_use": ease_of_use,
    "cost": cost,
}


Told = tuple[str, Figure]  # a figure, and the digest of the rows that it was told from, if it depends on them


@dataclass(frozen=True)
class Card:
    """What is known of a model. `about` says what it was tuned from and on; `seconds` what measuring took.

    `source` is the artefact that it is about, None for a model that is not here; `rows` the digest of the dataset that
    its accuracy was measured on.
    """

    model: str
    source: str | None
    about: Mapping[str, str]
    criteria: Mapping[Criterion, tuple[Figure, ...]]
    seconds: float
    rows: str = ""

    def to_json(self) -> dict[str, Any]:
        told = {name: [figure.to_json() for figure in figures] for name, figures in self.criteria.items()}
        about = dict(self.about)
        return {"model": self.model, "source": self.source, "about": about, "criteria": told, "seconds": self.seconds}


def find_card(
    workspace: Workspace, reference: str, data: str | None, prices: Prices, probe: bool, progress: Progress
) -> Card:
    """The card of what a reference names: measured where the model is here or comes with a package, else published.

    `probe` trains on parts of the rows, to tell what more of them would bring. Nothing is fetched from the hub; raises
    Refusal for what is neither here nor in the catalogue.
    """
    asked = parse_reference(reference)
    if asked.scheme == "hub" and not _is_here(workspace, asked):
        entry = asked.entry or next((e for e in read_catalogue().values() if e.hub == asked.target), None)
        if entry is None:
            raise Refusal(f"{reference} is not here and not in the catalogue; `carrara models pull` fetches it.")
        return published_card(entry, prices)
    return make_card(find_subject(workspace, reference, data, prices.cost, progress), prices, probe)


def _is_here(workspace: Workspace, asked: Reference) -> bool:
    return bool(workspace.index.alias(f"hub:{asked.target}@{asked.version}"))


def make_card(subject: Subject, prices: Prices, probe: bool = False) -> Card:
    """The card of a model that is here; a criterion that cannot be measured says so, and the others stand."""
    loading = _Loading(subject)
    found: dict[Criterion, tuple[Figure, ...]] = {}
    seconds = 0.0
    for criterion in CRITERIA:
        try:
            artefact = _measured(subject, criterion, loading.pair)
        except Refusal as refusal:
            subject.progress.say(f"{criterion}: {refusal}")
            found[criterion] = (unknown(criterion, str(refusal)),)
            continue
        rows = json.loads((artefact.path / _FIGURES).read_text(encoding="utf-8"))
        found[criterion] = tuple(figure_from_json(row) for row in rows)
        seconds += artefact.summary["seconds"]
    loading.let_go()  # what follows may train
    if probe:
        found["accuracy"] += tuple(accuracy.learning_curve(subject))
    found["cost"] += tuple(cost.price(found["cost"], prices))
    rows = subject.dataset.artefact.digest if subject.dataset else ""
    return Card(subject.model.name, _source(subject), _about(subject), found, seconds, rows)


def published_card(entry: CatalogueModel, prices: Prices) -> Card:
    """The card of a model that is not here: what others published, what follows from it, and what nobody knows."""
    found = published_figures(entry, CRITERIA)
    found["cost"] += tuple(cost.price(found["cost"], prices))
    return Card(entry.name, None, {}, found, 0.0)


def published_figures(entry: CatalogueModel, criteria: Sequence[Criterion]) -> dict[Criterion, tuple[Figure, ...]]:
    """What the catalogue tells of these criteria, as their rooms read it."""
    found: dict[Criterion, tuple[Figure, ...]] = {}
    for criterion in criteria:
        tell = getattr(_ROOMS[criterion], "published", None)
        told: list[Figure] = tell(entry) if tell else [unknown(criterion, f"the model is not here; {_PULL}")]
        found[criterion] = tuple(told)
    return found


def kept_figures(workspace: Workspace, rows: str | None = None) -> dict[str, dict[Criterion, list[Told]]]:
    """The figures of all cards that stand, by the model's artefact and criterion, the newest card's of each.

    Those of accuracy come with the digest of the dataset that they were measured on; others than `rows` are left out.
    """
    found: dict[str, dict[Criterion, list[Told]]] = {}
    for artefact in workspace.list("figures"):
        criterion: Criterion = artefact.made_by["criterion"]
        is_of_others = criterion == "accuracy" and rows not in (None, artefact.made_by["dataset"])
        is_foreign = artefact.made_by["adapter"] and not artefact.inputs["model"].startswith("run/")
        if is_of_others or is_foreign or artefact.made_by["format"] != _ROOMS[criterion].FORMAT:
            continue
        stored = json.loads((artefact.path / _FIGURES).read_text(encoding="utf-8"))
        asked = str(artefact.made_by["dataset"] or "") if criterion == "accuracy" else ""
        told = [(asked, figure_from_json(row)) for row in stored]
        found.setdefault(artefact.inputs["model"], {}).setdefault(criterion, told)
    return found


class _Loading:
    """Loads the pair when it is first asked for, and never where all that is measured stands."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._pair: Pair | None = None

    def pair(self) -> Pair:
        if self._pair is None:
            self._pair = load_pair(self._subject)
        return self._pair

    def let_go(self) -> None:
        self._pair = None
        give_back_memory()


def _measured(subject: Subject, criterion: Criterion, pair: Callable[[], Pair]) -> Artefact:
    """The figures of one criterion as an artefact, newly made unless they stand."""
    room = _ROOMS[criterion]

    def build(draft: Draft) -> None:
        began = time.monotonic()
        figures = room.measure(subject, pair)
        subject.model.require_unchanged()
        rows = [figure.to_json() for figure in figures]
        (draft.path / _FIGURES).write_text(json.dumps(rows, ensure_ascii=False, indent=2), encoding="utf-8")
        draft.summary.update(criterion=criterion, seconds=time.monotonic() - began)

    made_by = {
        "criterion": criterion,
        "format": room.FORMAT,
        **subject.model.identity(),
        "base": subject.base.identity() if subject.base else None,
        "dataset": subject.dataset.artefact.digest if subject.dataset else None,
        "seed": subject.seed,
        **room.terms(subject),
    }
    inputs = {"model": subject.model.source} | ({"dataset": subject.dataset.artefact} if subject.dataset else {})
    name = f"{criterion} of {subject.model.name}"
    return subject.workspace.make("figures", made_by, build, name=name, inputs=inputs, on_wait=subject.progress.say)


def _source(subject: Subject) -> str:
    """The artefact, or for an adapter from elsewhere, whose artefact is its base's, the adapter."""
    model = subject.model
    is_own = model.source.kind == "run" or model.adapter_digest is None
    return model.source.reference if is_own else f"adapter/{(model.adapter_digest or '')[:16]}"


def _about(subject: Subject) -> dict[str, str]:
    told = {"base": subject.base.name} if subject.base else {}
    return told | ({"dataset": subject.dataset.artefact.name} if subject.dataset else {})
