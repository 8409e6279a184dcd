"""What is measured of cost, on a tiny model: rows and tokens, a run's ledger, a base's plan, tokens a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.models import Model
from carrara.progress import Silent
from carrara.recipe import CostRecipe, PrepareRecipe, Recipe, TuneRecipe
from carrara.scorecard import cost
from carrara.scorecard.cost import measure
from carrara.scorecard.cost.serving import SPEED, memory_figure, serving_figures
from carrara.scorecard.figure import Figure
from carrara.scorecard.subject import Pair, Subject, find_subject, load_pair
from carrara.serve import engines
from carrara.tune.run import Run, tune_model
from carrara.workspace import Workspace
from tests.scorecard.invented import entry
from tests.tiny import one_thread, prepared, write_pairs


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On one thread, and without llama.cpp, whose child takes seconds to start."""

    def refuse(*_: object) -> None:
        raise Refusal("there is no llama.cpp in this test.")

    monkeypatch.setattr(engines, "open_engine", refuse)
    with one_thread():
        yield


@pytest.fixture
def run(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> Run:
    data = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"), PrepareRecipe(against=()))
    recipe = Recipe(tune=TuneRecipe(epochs=0.5, allow=("steps",)))
    return tune_model(workspace, tiny_model, data, recipe, Silent())


def _by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {each.measure: each for each in figures}


def _measured(subject: Subject) -> dict[str, Figure]:
    return _by_name(measure(subject, lambda: load_pair(subject)))


def test_a_run_is_told_from_its_ledger_and_timed_beside_its_base(workspace: Workspace, run: Run) -> None:
    subject = find_subject(workspace, run.artefact.reference, None, CostRecipe(), Silent())
    found = _measured(subject)
    ledger = run.ledger
    assert found["time of tuning"].value == ledger.seconds + ledger.validation_seconds
    assert found["memory of tuning"].value == ledger.peak_memory_mb / 1e3
    assert {found[name].kind for name in ("time of tuning", "memory of tuning")} == {"measured"}
    energy = found["energy of tuning"]
    if ledger.energy_kind == "estimated":
        assert energy.kind == "derived"
        assert energy.interval is not None
        assert energy.interval[1] / energy.interval[0] == pytest.approx(4.0)  # 5 to 20 W a core
    assert found["rows to label"].value == 40
    assert subject.dataset
    splits = subject.dataset.artefact.summary["splits"]
    assert f"{splits['train']} train" in found["rows to label"].source
    assert 0 < float(found["tokens that are learned"].value or 0) < float(found["tokens to train on"].value or 0)
    for name in (SPEED, f"{SPEED} (base)"):
        speed = found[name]
        assert speed.interval is not None
        assert isinstance(speed.value, float)
        assert 0 < speed.interval[0] < speed.value < speed.interval[1]
    assert found["tokens per second (llama.cpp)"].source == "there is no llama.cpp in this test."


def test_a_base_is_told_by_the_planner_with_its_interval(workspace: Workspace, tiny_model: Model) -> None:
    subject = find_subject(workspace, tiny_model.name, None, CostRecipe(), Silent())
    found = _measured(subject)
    for name in ("memory of tuning", "time of tuning", "energy of tuning"):
        figure = found[name]
        assert (figure.kind, figure.source[:15]) == ("derived", "90 % interval, ")
        assert figure.interval is not None
        assert figure.interval[0] < float(figure.value or 0) < figure.interval[1]
    assert found["rows to label"].kind == "unknown"
    assert "--data" in found["rows to label"].source


def test_a_power_that_is_stated_makes_the_energy(workspace: Workspace, tiny_model: Model) -> None:
    subject = find_subject(workspace, tiny_model.name, None, CostRecipe(watts=100.0), Silent())
    found = _by_name(serving_figures(subject, load_pair(subject)))
    energy, speed = found["energy per million tokens"], found[SPEED]
    assert energy.value == pytest.approx(100.0 * 1e6 / float(speed.value or 0) / 3600)
    assert "90 to 110 W from the recipe" in energy.source
    assert "interval from the least power at the fast end of that speed's 95 % interval" in energy.source


def test_an_engine_that_comes_later_is_measured(
    workspace: Workspace, tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = find_subject(workspace, tiny_model.name, None, CostRecipe(), Silent())
    for spec in (None, object()):
        monkeypatch.setattr(cost, "find_spec", lambda _, spec=spec: spec)
        assert cost.terms(subject)["llamacpp"] is (spec is not None)


def test_weights_that_do_not_load_leave_the_ledger(workspace: Workspace, run: Run) -> None:
    def refuse() -> Pair:
        raise Refusal("the weights are damaged.")

    subject = find_subject(workspace, run.artefact.reference, None, CostRecipe(), Silent())
    found = _by_name(measure(subject, refuse))
    assert found["time of tuning"].kind == "measured"
    assert (found["serving"].kind, found["serving"].source) == ("unknown", "the weights are damaged.")


def test_memory_to_serve_is_arithmetic() -> None:
    own = entry("smollm2-135m-instruct")
    held = own.parameters * 2 + 2 * 2 * 30 * 3 * 64 * 2048 + 0.629e9
    assert memory_figure(own.shape, own.parameters).value == pytest.approx(held / 1e9)


def test_a_runs_energy_is_its_seconds_at_the_power_that_is_stated(workspace: Workspace, run: Run) -> None:
    if run.ledger.energy_kind == "measured":
        pytest.skip("this processor counts its energy")
    seconds = run.ledger.seconds + run.ledger.validation_seconds
    subject = find_subject(workspace, run.artefact.reference, None, CostRecipe(watts=360.0), Silent())
    energy = _measured(subject)["energy of tuning"]
    assert energy.value == pytest.approx(360 * seconds / 3600)
    assert energy.source.endswith("its seconds, at 324 to 396 W from the recipe")
