"""Several models on the command line: evaluated together, then each compared with the base."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import Result, call, write_questions
from tests.tiny import write_tiny_adapter

TASKS = ("--tasks", "arc_easy", "--benchmarks", "benchmarks")


@dataclass(frozen=True)
class Ground:
    """A workspace with the scores of a base and two adapters, which were evaluated together."""

    workspace: Path
    models: list[Path]
    together: Result

    def call(self, *arguments: str | Path) -> Result:
        return call(self.workspace, *arguments)


@pytest.fixture(scope="module")
def ground(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("several")
    write_questions(folder / "benchmarks", 12)
    models = [tiny_folder, *(write_tiny_adapter(tiny_folder, folder / f"adapter-{n}", seed=n) for n in (1, 2))]
    workspace = folder / "workspace"
    return Ground(workspace, models, call(workspace, "evaluate", *models, *TASKS, "--json"))


def _listed(result: Result) -> list[dict[str, Any]]:
    assert result.code == 0, result.err
    (line,) = result.out.splitlines()
    return json.loads(line)


def test_evaluate_lists_what_it_tells_of_each(ground: Ground) -> None:
    told = _listed(ground.together)
    assert [each["model"] for each in told] == [str(model) for model in ground.models]
    for model, each in zip(ground.models, told, strict=True):
        alone = ground.call("evaluate", model, *TASKS, "--json").json
        assert set(each) - set(alone) == {"model"}
        for key in ("scores", "id", "tasks", "labels", "seconds", "missing"):
            assert each[key] == alone[key]


def test_evaluate_shows_a_column_for_each_model(ground: Ground) -> None:
    shown = ground.call("evaluate", *ground.models, *TASKS).out
    told = _listed(ground.together)
    (row,) = (line.split() for line in shown.splitlines() if line.startswith("arc_easy") and " acc " in line)
    values = [next(each["value"] for each in one["tasks"] if each["metric"] == "acc") for one in told]
    assert row[:3] == ["arc_easy", "acc", "12"]
    assert [float(cell) for cell in row[3::3]] == pytest.approx(values, abs=5e-5)
    for each in told:
        assert f"scores    {each['model']}: {each['scores']}" in shown


def test_compare_tells_a_verdict_for_each(ground: Ground) -> None:
    told = _listed(ground.call("compare", *ground.models, "--json"))
    assert [each["tuned"] for each in told] == [str(model) for model in ground.models[1:]]
    assert len({each["report"] for each in told}) == 2
    for model, each in zip(ground.models[1:], told, strict=True):
        alone = ground.call("compare", ground.models[0], model, "--json").json
        assert set(each) - set(alone) == {"tuned"}
        (row,), (single,) = ([row for row in one["verdicts"] if row["primary"]] for one in (each, alone))
        assert row["p"] == single["p"]
        assert row["p_adjusted"] == min(1.0, 2 * single["p"])
        assert any("one of 2 tuned models" in note for note in each["notes"])
        assert not any("tuned models" in note for note in alone["notes"])
    shown = ground.call("compare", *ground.models).out
    assert [line for line in shown.splitlines() if line.startswith("tuned     ")] == [
        f"tuned     {model}" for model in ground.models[1:]
    ]


def test_any_gate_that_is_not_met_exits_with_1(ground: Ground) -> None:
    met = ground.call("compare", *ground.models, "--gate", "no worse than 100 points on arc_easy")
    assert met.code == 0
    failed = ground.call("compare", *ground.models, "--gate", "must improve arc_easy acc", "--json")
    assert failed.code == 1
    assert len(json.loads(failed.out)) == 2
    for model in ground.models[1:]:
        assert f"{model}: arc_easy acc must be better" in failed.sentence


def test_the_same_model_twice_is_refused(ground: Ground) -> None:
    base, first, _ = ground.models
    twice = ground.call("evaluate", base, first, base, *TASKS)
    assert (twice.code, twice.out) == (2, "")
    assert "are the same model; name it once" in twice.sentence
    twice = ground.call("compare", base, first, first)
    assert (twice.code, twice.out) == (2, "")
    assert "are the same scores; name each tuned model once" in twice.sentence
