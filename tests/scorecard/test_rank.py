"""Ranking: figures of cards count by how they differ, published ones by protocol, unknown ones not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module

import pytest

from carrara.models.catalogue import PublishedScore
from carrara.recipe import CostRecipe
from carrara.scorecard.assumed import USUAL, glance, plans_of
from carrara.scorecard.candidate import Candidate
from carrara.scorecard.card import kept_figures
from carrara.scorecard.figure import Criterion, Figure
from carrara.scorecard.rank import rank_field
from carrara.scorecard.weigh import Scores
from carrara.workspace import Artefact, Draft, Workspace
from tests.scorecard.invented import candidate, measured


def _made(workspace: Workspace, name: str) -> Artefact:
    return workspace.make("model", {"invented": name}, lambda draft: None, name=name)


def _keep(workspace: Workspace, model: Artefact, criterion: Criterion, *figures: Figure, rows: str = "") -> None:
    """The figures of a card, as if they had been measured."""

    def build(draft: Draft) -> None:
        (draft.path / "figures.json").write_text(json.dumps([each.to_json() for each in figures]), encoding="utf-8")

    number = import_module(f"carrara.scorecard.{criterion}").FORMAT
    made_by = {"criterion": criterion, "format": number, "adapter": None, "dataset": rows, "of": model.id}
    workspace.make("figures", made_by, build, name=criterion, inputs={"model": model})


def _rank(workspace: Workspace, candidates: list[Candidate]) -> list[Scores]:
    plans = [plans_of(each, USUAL, glance(64e9), CostRecipe()) for each in candidates]
    return [*rank_field(candidates, plans, "generate", kept_figures(workspace))]


@pytest.fixture
def three(workspace: Workspace) -> list[Candidate]:
    """Three models of one size, two of them here."""
    own = replace(candidate(), entry=None)
    here = [replace(own, name=name, here=_made(workspace, name)) for name in ("one", "two")]
    return [*here, replace(own, name="three")]


def test_what_was_measured_of_two_sets_them_apart_and_the_third_stays_between(
    workspace: Workspace, three: list[Candidate]
) -> None:
    for model, value in zip(three[:2], (0.2, 0.8), strict=True):
        assert model.here
        _keep(workspace, model.here, "creativity", measured("creativity", value), measured("novelty", value))
    found = [each["creativity"] for each in _rank(workspace, three)]
    assert found[0].likely < 0.4
    assert found[1].likely > 0.6
    assert found[2].likely == pytest.approx(0.5, abs=0.02)
    assert found[2].low < 0.1
    assert [each.kind for each in found] == ["measured", "measured", "unknown"]


def test_the_lower_is_better_where_a_figure_says_so(workspace: Workspace, three: list[Candidate]) -> None:
    for model, value in zip(three[:2], (0.2, 0.8), strict=True):
        assert model.here
        _keep(workspace, model.here, "privacy", replace(measured("extraction", value), better="lower"))
    found = [each["privacy"] for each in _rank(workspace, three)]
    assert found[0].likely > found[1].likely


def test_a_wide_interval_counts_less(workspace: Workspace, three: list[Candidate]) -> None:
    gaps: list[float] = []
    for half in (0.01, 2.0):
        for model, value in zip(three[:2], (0.2, 0.8), strict=True):
            assert model.here
            _keep(workspace, model.here, "creativity", measured(f"creativity {half}", value, half))
        one, two, _ = (each["creativity"] for each in _rank(workspace, three))
        gaps.append(two.likely - one.likely)
        for artefact in workspace.list("figures"):
            (artefact.path / "artefact.json").unlink()
    assert gaps[0] > 2 * gaps[1]


def test_accuracy_on_other_rows_is_not_compared(workspace: Workspace, three: list[Candidate]) -> None:
    for model, value, rows in zip(three[:2], (0.2, 0.8), ("a", "b"), strict=True):
        assert model.here
        _keep(workspace, model.here, "accuracy", measured("loss on held-out rows", value), rows=rows)
    found = [each["accuracy"] for each in _rank(workspace, three)]
    assert found[0].likely == pytest.approx(found[1].likely)
    for model, value in zip(three[:2], (0.2, 0.8), strict=True):
        assert model.here
        _keep(workspace, model.here, "accuracy", measured("answers", value), rows="same")
    found = [each["accuracy"] for each in _rank(workspace, three)]
    assert found[0].likely < found[1].likely
    plans = [plans_of(each, USUAL, glance(64e9), CostRecipe()) for each in three]
    asked = [each["accuracy"] for each in rank_field(three, plans, "generate", kept_figures(workspace, "a"))]
    assert asked[0].likely == pytest.approx(asked[1].likely)  # of rows "a" only the first was measured


def test_scores_of_two_protocols_are_never_set_beside_each_other(workspace: Workspace) -> None:
    def scored(name: str, value: float, protocol: str, source: str = "somewhere") -> Candidate:
        own = candidate()
        assert own.entry
        score = PublishedScore(
            benchmark="arc_challenge", metric=None, shots=25, value=value, protocol=protocol, source=source
        )
        return replace(own, name=name, entry=own.entry.model_copy(update={"scores": (score,)}))

    apart = _rank(workspace, [scored("low", 20.0, "kind"), scored("high", 90.0, "strict")])
    assert apart[0]["accuracy"].likely == pytest.approx(apart[1]["accuracy"].likely, abs=0.01)
    together = _rank(workspace, [scored("low", 20.0, "kind"), scored("high", 90.0, "kind")])
    assert together[0]["accuracy"].likely < together[1]["accuracy"].likely - 0.2
    unsourced = _rank(workspace, [scored("low", 20.0, "kind", " "), scored("high", 90.0, "kind")])
    assert unsourced[0]["accuracy"].likely == pytest.approx(unsourced[1]["accuracy"].likely, abs=0.01)


def test_larger_models_cost_more_and_nothing_else_of_cost_is_told(workspace: Workspace) -> None:
    small, large = _rank(workspace, [candidate("smollm2-135m"), candidate("llama-3.1-8b")])
    assert small["cost"].likely > 0.6 > 0.4 > large["cost"].likely
    assert small["cost"].kind == "derived"


def test_a_run_that_gives_more_away_than_its_base_stands_below_it(workspace: Workspace, three: list[Candidate]) -> None:
    base = three[0].here
    assert base
    run = workspace.make("run", {}, lambda draft: None, name="run", inputs={"model": base})
    told = replace(measured("membership inference AUC", 0.95, 0.02), better="lower")
    _keep(workspace, run, "privacy", told, replace(told, measure=f"{told.measure} (base)", value=0.5))
    of_base, _, of_run = (
        each["privacy"] for each in _rank(workspace, [*three[:2], replace(three[0], name="run", here=run)])
    )
    assert of_run.likely < 0.5 < of_base.likely


def test_what_hardly_differs_hardly_counts(workspace: Workspace, three: list[Candidate]) -> None:
    """A hundredth of the value is no standard deviation, though it is all that two differ by."""
    for model, value in zip(three[:2], (0.990, 1.000), strict=True):
        assert model.here
        _keep(workspace, model.here, "creativity", measured("novelty", value, 0.001))
    found = [each["creativity"].likely for each in _rank(workspace, three)]
    assert found[0] < found[1] < found[0] + 0.05


def test_a_figure_that_stands_alone_is_not_what_a_score_was_told_from(
    workspace: Workspace, three: list[Candidate]
) -> None:
    assert three[0].here
    _keep(workspace, three[0].here, "creativity", measured("novelty", 0.5))
    _keep(workspace, three[0].here, "accuracy", measured("held-out accuracy", 0.5), rows="a")
    first = _rank(workspace, three)[0]
    assert first["creativity"].kind == "unknown"
    assert first["accuracy"].kind == "derived"
