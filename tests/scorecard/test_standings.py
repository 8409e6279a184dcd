"""Several cards weighed against each other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from carrara.models import Model
from carrara.models.interval import Interval
from carrara.progress import Silent
from carrara.recipe import CostRecipe
from carrara.scorecard import standings
from carrara.scorecard.assumed import glance
from carrara.scorecard.card import Card, find_card
from carrara.scorecard.cost import Prices
from carrara.scorecard.figure import Criterion, Figure
from carrara.scorecard.standings import Standing, Standings, stand
from carrara.scorecard.weigh import read_weights
from carrara.workspace import Workspace
from tests.scorecard.invented import card, measured


def _copy(folder: Path, to: Path) -> None:
    shutil.copytree(folder, to, dirs_exist_ok=True)


def _stand(workspace: Workspace, weights: str) -> Standings:
    prices = Prices(CostRecipe())
    cards = [find_card(workspace, name, None, prices, False, Silent()) for name in ("smollm2-360m", "llama-2-7b")]
    found = stand(workspace, cards, read_weights(weights), Silent())
    assert found
    return found


def test_the_weights_decide_and_the_switch_is_where_they_would_decide_otherwise(workspace: Workspace) -> None:
    able = _stand(workspace, "accuracy=3")
    assert [each.model for each in able.ranked] == ["llama-2-7b", "smollm2-360m"]
    at = next(each.at for each in able.switches if each.criterion == "accuracy")
    assert at is not None
    assert _stand(workspace, f"accuracy={at * 0.98}").ranked[0].model == "smollm2-360m"
    assert f"accuracy = 3: at {at:.3g}, smollm2-360m would come first" in able.sentences()


def test_published_figures_of_one_benchmark_alone_do_not_decide_surely(workspace: Workspace) -> None:
    assert "but the intervals overlap" in _stand(workspace, "accuracy=1").sentences()[0]


def test_the_first_is_set_beside_the_highest_end_of_all_others() -> None:
    def standing(name: str, likely: float, high: float) -> Standing:
        return Standing(name, Interval(likely, likely - 0.05, high), {})

    first, second = standing("a", 0.8, 0.9), standing("b", 0.6, 0.7)
    weights = read_weights(None)
    assert "and its interval is above all others" in Standings((first, second), weights, ()).sentences()[0]
    wide = standing("c", 0.5, 0.85)
    assert "but the intervals overlap" in Standings((first, second, wide), weights, ()).sentences()[0]


def test_a_card_says_its_rank(workspace: Workspace) -> None:
    found = _stand(workspace, "cost=9")
    prices = Prices(CostRecipe())
    told = found.of(find_card(workspace, "llama-2-7b", None, prices, False, Silent()))["standing"]
    assert told["rank"] == 2
    assert told["score"]["low"] < told["score"]["likely"] < told["score"]["high"]
    assert {each["winner"] for each in told["switches"]} <= {"llama-2-7b", "smollm2-360m", None}


def test_what_is_nowhere_is_not_weighed(workspace: Workspace, tiny_model: Model) -> None:
    assert stand(workspace, [card("foreign"), card("other")], read_weights(None), Silent()) is None


@pytest.mark.parametrize("weights", ["accuracy=1", "cost=2"])
def test_the_order_of_the_cards_does_not_matter(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    monkeypatch.setattr(standings, "glance", lambda _: glance(64e9))  # what is free changes from call to call
    prices = Prices(CostRecipe())
    cards = [find_card(workspace, name, None, prices, False, Silent()) for name in ("llama-2-7b", "smollm2-360m")]
    one, other = (stand(workspace, own, read_weights(weights), Silent()) for own in (cards, cards[::-1]))
    assert one == other


def test_what_is_weighed_is_what_the_cards_say(workspace: Workspace, tiny_model: Model) -> None:
    """Two artefacts of which nothing is kept: all that is known of them is in these cards."""
    other = workspace.make("model", {"tiny": "again"}, lambda draft: _copy(tiny_model.path, draft.path), name="other")
    sources = (tiny_model.source.reference, other.reference)

    def told(source: str, value: float, rows: str) -> Card:
        figures: dict[Criterion, list[Figure]] = {
            "creativity": [measured("creativity", value)],
            "accuracy": [measured("held-out accuracy", value)],
        }
        return replace(card(source, figures), source=source, rows=rows)

    def first(values: tuple[float, float], rows: tuple[str, str], weights: str) -> list[float]:
        cards = [told(*each) for each in zip(sources, values, rows, strict=True)]
        found = stand(workspace, cards, read_weights(weights), Silent())
        assert found
        by_model = {each.model: each.score.likely for each in found.ranked}
        return [by_model[source] for source in sources]

    creative = "accuracy=0,creativity=1,privacy=0,ease_of_use=0,cost=0"
    low, high = first((0.2, 0.8), ("", ""), creative)
    assert low < 0.45 < 0.55 < high
    high, low = first((0.8, 0.2), ("", ""), creative)
    assert low < 0.45 < 0.55 < high
    able = "accuracy=1,creativity=0,privacy=0,ease_of_use=0,cost=0"
    alike = first((0.2, 0.8), ("a", "b"), able)
    assert alike[0] == pytest.approx(alike[1])  # measured on other rows
    apart = first((0.2, 0.8), ("a", "a"), able)
    assert apart[0] < apart[1]
