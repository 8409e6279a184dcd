"""The contract for programs: one JSON object on stdout with the promised keys, and the promised Parquet columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.cli.calling import Result, call, write_questions
from tests.tiny import write_pairs

COLUMNS = ("task", "item", "id", "loglikelihoods", "prediction", "gold", "correct")
TUNE = {"epochs": 1, "batch_size": 8, "rank": 4, "dtype": "float32"}


@dataclass(frozen=True)
class Ground:
    """A folder with a tiny model, rows, questions and recipes, and what the verbs answered there."""

    workspace: Path
    model: Path
    questions: Path
    prepared: Result
    tuned: dict[str, Result]
    before: Result
    after: Result
    compared: Result

    def recipe(self, name: str, **fields: Any) -> Path:
        path = self.workspace.parent / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"model": str(self.model), "data": "dataset", "tune": TUNE, **fields}))
        return path


@pytest.fixture(scope="module")
def ground(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """The whole way, verb by verb."""
    folder = tmp_path_factory.mktemp("contract")
    workspace, questions = folder / "workspace", write_questions(folder / "benchmarks")
    write_pairs(folder / "pairs.jsonl", 60)
    with (folder / "pairs.jsonl").open("a", encoding="utf-8") as file:
        file.write('["no", "object"]\n')
    prepared = call(workspace, "prepare", "pairs.jsonl", "-o", "dataset", "--model", tiny_folder, "--json")
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"model": str(tiny_folder), "data": "dataset", "tune": TUNE}))
    tuned = {
        method: call(workspace, "tune", "recipe.yaml", "--method", method, "--json") for method in ("lora", "full")
    }
    options = ["--tasks", "arc_easy,heldout", "--benchmarks", "benchmarks", "--json"]
    before = call(workspace, "evaluate", tiny_folder, *options, "--data", "dataset")
    after = call(workspace, "evaluate", tuned["lora"].json["run"], *options)
    compared = call(workspace, "compare", before.json["scores"], after.json["scores"], "--json")
    return Ground(workspace, tiny_folder, questions, prepared, tuned, before, after, compared)


def test_prepare_tells_rows_splits_and_tokens(ground: Ground) -> None:
    told = ground.prepared.json
    assert {"dataset", "rows", "splits", "tokens", "duplicates", "personal_data", "contaminated", "dossier"} <= set(
        told
    )
    assert told["duplicates"] == {"exact": 0, "near": 0, "conflicting": 0}
    assert told["personal_data"] == {}
    assert all(type(count) is int for count in told["contaminated"].values())
    assert (ground.workspace.parent / told["dossier"]).read_text().startswith("<!doctype html>")
    assert told["rows"] == {"read": 61, "kept": 60, "quarantined": 1}
    assert set(told["splits"]) == {"train", "validation", "test"}
    assert sum(told["splits"].values()) == 60
    assert set(told["tokens"]) >= {"total", "supervised", "truncated_rows"}
    assert 0 < told["tokens"]["supervised"] < told["tokens"]["total"]
    folder = ground.workspace.parent / told["dataset"]
    (bad,) = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text().splitlines()]
    assert bad["row"] == 61
    for split, count in told["splits"].items():
        assert len((folder / f"{split}.jsonl").read_text().splitlines()) == count


@pytest.mark.parametrize(("method", "file"), [("lora", "adapter_config.json"), ("full", "config.json")])
def test_tune_tells_the_run_and_what_it_took(ground: Ground, method: str, file: str) -> None:
    told = ground.tuned[method].json
    assert {"run", "steps", "tokens_per_second", "loss", "peak_memory_mb", "path"} <= set(told)
    assert {"method", "from", "validation_loss", "kept", "planned"} <= set(told)
    assert told["run"].startswith("run/")
    assert told["steps"] == -(-ground.prepared.json["splits"]["train"] // TUNE["batch_size"])
    assert set(told["loss"]) == {"first", "last"}
    assert all(0 < value < 20 for value in told["loss"].values())
    assert told["tokens_per_second"] > 0
    assert told["peak_memory_mb"] > 0
    assert (Path(told["path"]) / file).is_file()


@pytest.mark.parametrize("which", ["before", "after"])
def test_evaluate_tells_the_scores_and_each_metric(ground: Ground, which: str) -> None:
    told = getattr(ground, which).json
    assert {"scores", "tasks"} <= set(told)
    figures = {(figure["task"], figure["metric"]): figure for figure in told["tasks"]}
    assert {("arc_easy", "acc"), ("arc_easy", "acc_norm"), ("heldout", "loss"), ("heldout", "perplexity")} <= set(
        figures
    )
    for figure in figures.values():
        assert {"task", "metric", "value", "stderr", "n", "seconds"} <= set(figure)
    assert figures["arc_easy", "acc"]["n"] == 12
    assert 0 <= figures["arc_easy", "acc"]["value"] <= 1


def test_the_per_item_file_has_a_row_for_each_question(ground: Ground) -> None:
    told = ground.before.json
    rows = pq.read_table(told["scores"]).to_pylist()
    assert set(COLUMNS) <= set(rows[0])
    asked = [row for row in rows if row["task"] == "arc_easy"]
    assert [row["item"] for row in asked] == list(range(12))
    assert [row["id"] for row in asked] == [f"q{n}" for n in range(12)]
    assert [row["gold"] for row in asked] == [n % 3 for n in range(12)]
    for row in asked:
        assert len(row["loglikelihoods"]) == 3
        assert row["prediction"] == row["loglikelihoods"].index(max(row["loglikelihoods"]))
        assert row["correct"] is (row["prediction"] == row["gold"])
    accuracy = sum(row["correct"] for row in asked) / 12
    assert accuracy == next(figure["value"] for figure in told["tasks"] if figure["metric"] == "acc")


def test_evaluate_takes_a_limit_shots_a_protocol_and_a_dtype(ground: Ground) -> None:
    options = ["--limit", "5", "--shots", "0", "--protocol", "leaderboard-2023-10", "--dtype", "float32"]
    told = call(
        ground.workspace,
        "evaluate",
        ground.model,
        "--tasks",
        "arc_easy",
        "--benchmarks",
        ground.questions,
        *options,
        "--json",
    ).json
    assert pq.read_table(told["scores"]).num_rows == 5


def test_compare_tells_a_verdict_for_each_metric_and_where_the_report_is(ground: Ground) -> None:
    told = ground.compared.json
    assert {"verdict", "verdicts", "report"} <= set(told)
    for row in told["verdicts"]:
        assert {"task", "metric", "base", "tuned", "delta", "ci", "p", "n", "verdict"} <= set(row)
        assert len(row["ci"]) == 2
        assert row["ci"][0] <= row["delta"] <= row["ci"][1]
    report = Path(told["report"]).read_text(encoding="utf-8")
    assert report.startswith("<!doctype html>") or report.startswith("<!DOCTYPE html>")
    run = ground.tuned["lora"].json
    assert all(reference in report for reference in (run["run"], *run["from"]))
    for shown in ("Loss in nats per token", "Learning rate", "Tokens a second", "Lineage", "Plan, and what it was"):
        assert shown in report


def test_run_goes_the_whole_way_and_reuses_what_stands(ground: Ground) -> None:
    recipe = ground.recipe("way", evaluate={"tasks": ["arc_easy"], "benchmarks": str(ground.questions)})
    first = call(ground.workspace, "run", recipe, "--json")
    told = first.json
    assert {"dataset", "run", "scores", "verdict", "verdicts", "report"} <= set(told)
    assert told["run"] == ground.tuned["lora"].json["run"]  # the same model, data and recipe
    assert set(told["scores"]) == {"base", "tuned"}
    assert call(ground.workspace, "run", recipe, "--json").json == told


def test_a_verb_run_again_answers_the_same(ground: Ground) -> None:
    again = call(ground.workspace, "tune", ground.recipe("again"), "--method", "full", "--json").json
    assert again == ground.tuned["full"].json
    assert call(ground.workspace, "compare", ground.before.json["id"], ground.after.json["id"], "--json").json == (
        ground.compared.json
    )


def test_a_run_and_its_folder_are_the_same_model(ground: Ground) -> None:
    for told in (result.json for result in ground.tuned.values()):
        by_name = call(ground.workspace, "models", "pull", told["run"], "--json").json
        assert by_name == call(ground.workspace, "models", "pull", told["path"], "--json").json


def test_the_price_and_the_watts_of_the_recipe_enter_the_ledger(ground: Ground) -> None:
    recipe = ground.recipe("priced", cost={"per_hour": 3600.0, "per_kwh": 0.0, "currency": "CHF", "watts": 100.0})
    told = call(ground.workspace, "tune", recipe, "--json").json
    assert told["currency"] == "CHF"
    assert told["cost"] == pytest.approx(told["seconds"] + told["validation_seconds"])


def test_models_answer_as_json(ground: Ground) -> None:
    models = call(ground.workspace, "models", "list", "--json").json["models"]
    assert len(models) >= 25
    assert {"name", "parameters", "shape", "context", "licence", "template", "scores"} <= set(models[0])
    assert call(ground.workspace, "models", "show", models[0]["name"], "--json").json == models[0]
    pulled = call(ground.workspace, "models", "pull", ground.model, "--json").json
    assert set(pulled) == {"model", "digest", "path"}
    assert (Path(pulled["path"]) / "model.safetensors").is_file()
    for model in (models[0]["name"], str(ground.model)):
        planned = call(ground.workspace, "models", "plan", model, "--json").json
        assert [plan["method"] for plan in planned["plans"]] == ["full", "lora", "qlora", "ia3", "prefix", "prompt"]
        for plan in planned["plans"]:
            assert {"method", "weights", "trained", "activations", "total", "fits", "reason"} <= set(plan)
            for planned_thing in ("memory", "seconds", "energy_wh", "money"):
                assert plan[planned_thing]["low"] < plan[planned_thing]["likely"] < plan[planned_thing]["high"]


def test_runs_tell_from_what_each_thing_was_made(ground: Ground) -> None:
    told = call(ground.workspace, "runs", "--json").json
    assert told["workspace"] == str(ground.workspace)
    by_id = {artefact["id"]: artefact for artefact in told["artefacts"]}
    run = by_id[ground.tuned["lora"].json["run"]]
    assert {by_id[parent]["name"] for parent in run["inputs"].values()} == {str(ground.model), "pairs.jsonl"}
    only = call(ground.workspace, "runs", "run", "--json").json["artefacts"]
    assert {artefact["id"].split("/")[0] for artefact in only} == {"run"}


def test_doctor_answers_as_json(ground: Ground) -> None:
    told = call(ground.workspace, "doctor", "--json").json
    assert isinstance(told["healthy"], bool)
    assert told["findings"]


def test_explain_tells_each_rule_that_differs(ground: Ground) -> None:
    told = call(
        ground.workspace, "explain", ground.before.json["id"], "--against", "leaderboard-2023-10", "--json"
    ).json
    rules = {found["rule"]: found["effect"] for found in told["differences"]}
    assert rules == {"order of the questions": "moves nothing", "special tokens": "moves nothing"}
    assert told["told"] == []
    shown = call(ground.workspace, "explain", ground.before.json["id"], "--against", "lm-eval-0.4")
    assert "every rule is that of lm-eval-0.4" in shown.out


def test_a_look_counts_only_what_stays_valid(ground: Ground) -> None:
    scores = ground.before.json["scores"], ground.after.json["scores"]
    told = call(ground.workspace, "compare", *scores, "--looked", "--json").json
    assert {row["task"] for row in told["verdicts"]} == {"arc_easy"}
    assert any(note.startswith("heldout has no test that stays valid") for note in told["notes"])


def test_a_task_file_tells_each_label(ground: Ground) -> None:
    folder = ground.workspace.parent
    (folder / "mood.csv").write_text("text,label\n" + "fine,good\ndull,bad\n" * 4)
    fields = {"name": "mood", "data": "mood.csv", "question": "{text}:", "answer": "label"}
    (folder / "mood.yaml").write_text(yaml.safe_dump(fields))
    told = call(ground.workspace, "evaluate", ground.model, "--tasks", "mood.yaml", "--json").json
    assert [(label["name"], label["items"]) for label in told["labels"]["mood"]] == [("bad", 4), ("good", 4)]
    for label in told["labels"]["mood"]:
        both = label["precision"] + label["recall"]
        assert label["f1"] == pytest.approx(2 * label["precision"] * label["recall"] / both if both else 0.0)
    shown = call(ground.workspace, "evaluate", ground.model, "--tasks", "mood.yaml").out
    assert "label of mood" in shown


@pytest.mark.parametrize("verb", ["prepare", "tune", "evaluate", "compare", "runs", "models"])
def test_a_person_reads_the_same_in_words(ground: Ground, verb: str) -> None:
    arguments: dict[str, list[Any]] = {
        "prepare": ["dataset", "--model", ground.model, "--show-tokens", "1"],
        "tune": [ground.recipe("words")],
        "evaluate": [ground.model, "--tasks", "arc_easy", "--benchmarks", ground.questions],
        "compare": [ground.before.json["scores"], ground.after.json["scores"]],
        "runs": [],
        "models": ["plan", ground.model],
    }
    result = call(ground.workspace, verb, *arguments[verb])
    assert result.code == 0
    assert len(result.out.splitlines()) >= 3
    assert "{" not in result.out
