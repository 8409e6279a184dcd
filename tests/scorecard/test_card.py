"""The card: each criterion measured once and kept, a gap where one cannot be, nothing fetched for what is not here."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.models import CatalogueModel, Model
from carrara.progress import Silent
from carrara.recipe import CostRecipe
from carrara.scorecard import card, cost
from carrara.scorecard.card import find_card, kept_figures, published_card
from carrara.scorecard.cost import Prices
from carrara.scorecard.figure import CRITERIA, Figure, unknown
from carrara.scorecard.subject import Pair, Subject
from carrara.workspace import Workspace
from tests.scorecard.invented import entry, measured

PRICES = Prices(CostRecipe())


class _Room:
    """A criterion that counts how often it is measured."""

    FORMAT: int = 1

    def __init__(self, figure: Figure | None) -> None:
        self._figure = figure
        self.asked = 0

    def terms(self, subject: Subject) -> dict[str, Any]:
        return {}

    def measure(self, subject: Subject, pair: Callable[[], Pair]) -> list[Figure]:
        self.asked += 1
        if self._figure is None:
            raise Refusal("there are no roles to ask it in.")
        return [self._figure]


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> dict[str, _Room]:
    """Rooms that need no model; ease of use cannot be measured."""
    made = {name: _Room(measured(name, 0.5)) for name in CRITERIA} | {"ease_of_use": _Room(None)}
    monkeypatch.setattr(card, "_ROOMS", made)
    return made


def test_a_criterion_that_cannot_be_measured_says_so_and_the_others_stand(
    workspace: Workspace, tiny_model: Model, rooms: dict[str, _Room]
) -> None:
    found = find_card(workspace, tiny_model.name, None, PRICES, False, Silent())
    gap = found.criteria["ease_of_use"][0]
    assert (gap.kind, gap.source) == ("unknown", "there are no roles to ask it in.")
    for name in ("accuracy", "creativity", "privacy", "cost"):
        assert found.criteria[name][0].value == 0.5


def test_a_second_card_measures_nothing_and_other_prices_neither(
    workspace: Workspace, tiny_model: Model, rooms: dict[str, _Room]
) -> None:
    find_card(workspace, tiny_model.name, None, PRICES, False, Silent())
    again = find_card(workspace, tiny_model.name, None, Prices(CostRecipe(per_hour=3), api_price=2), False, Silent())
    assert [rooms[name].asked for name in ("accuracy", "privacy", "cost")] == [1, 1, 1]
    assert "price of the API per million tokens" in {each.measure for each in again.criteria["cost"]}


def test_the_contract(workspace: Workspace, tiny_model: Model, rooms: dict[str, _Room]) -> None:
    told = find_card(workspace, tiny_model.name, None, PRICES, False, Silent()).to_json()
    assert told["model"] == tiny_model.name
    assert list(told["criteria"]) == list(CRITERIA)
    for figures in told["criteria"].values():
        for each in figures:
            assert {"measure", "value", "interval", "kind", "source"} <= set(each)
            assert each["kind"] in ("measured", "published", "derived", "unknown")


def test_kept_figures_are_found_again_until_their_format_changes(
    workspace: Workspace, tiny_model: Model, rooms: dict[str, _Room]
) -> None:
    find_card(workspace, tiny_model.name, None, PRICES, False, Silent())
    kept = kept_figures(workspace)[tiny_model.source.reference]
    assert set(kept) == {"accuracy", "creativity", "privacy", "cost"}
    rooms["accuracy"].FORMAT = 2
    assert "accuracy" not in kept_figures(workspace)[tiny_model.source.reference]


def test_a_catalogue_name_that_is_not_here_is_told_from_the_catalogue_and_not_fetched(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*_: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(card, "find_subject", fetch)
    for name in ("llama-2-7b", "hub:meta-llama/Llama-2-7b-hf"):
        found = find_card(workspace, name, None, PRICES, False, Silent())
        assert (found.model, found.source, found.seconds) == ("llama-2-7b", None, 0.0)
        kinds = {each.kind for told in found.criteria.values() for each in told}
        assert "measured" not in kinds
        assert all(found.criteria[name] for name in CRITERIA)


def test_a_model_of_the_hub_that_is_neither_here_nor_listed_is_refused(workspace: Workspace) -> None:
    with pytest.raises(Refusal, match="is not here and not in the catalogue; `carrara models pull` fetches it"):
        find_card(workspace, "hub:nobody/nothing", None, PRICES, False, Silent())


def test_the_cost_of_what_is_not_here_is_derived_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def published(own: CatalogueModel) -> list[Figure]:
        return [unknown("arc", f"nobody scored {own.name}")]

    rooms = {name: SimpleNamespace(FORMAT=1, published=published) for name in CRITERIA} | {"cost": cost}
    monkeypatch.setattr(card, "_ROOMS", rooms)
    found = published_card(entry("llama-2-7b"), PRICES)
    assert found.criteria["accuracy"][0].source == "nobody scored llama-2-7b"
    told = {each.measure: each for each in found.criteria["cost"]}
    memory = told["memory to serve"]
    assert memory.value == pytest.approx(2 * 6.738415616 + 2 * 2 * 32 * 32 * 128 * 2048 / 1e9 + 0.629, abs=0.01)
    assert told["time of tuning"].kind == "derived"
    assert "assumed, not measured" in told["time of tuning"].source
    assert told["tokens per second"].kind == "unknown"
