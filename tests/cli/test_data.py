"""`carrara data`: what it prints of a dataset, masked, and the same for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from carrara.cli.data import data_app
from carrara.data.dataset import Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.recipe import make_recipe
from carrara.workspace import Draft, Workspace

Call = Callable[..., str]


def _prepared(workspace: Workspace, path: Path, rows: list[dict[str, str]]) -> Dataset:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return prepare_dataset(workspace, make_recipe({"data": str(path), "prepare": {"against": []}}), Silent())


def _row(number: int) -> dict[str, str]:
    answer = f"It weighs {number} tonnes; write to quarry{number}@example-marble.com for more.\x1b[2J"
    return {"prompt": f"How heavy is block {number} of the lot named {number * 7919:x}?", "completion": answer}


@pytest.fixture
def before(workspace: Workspace, tmp_path: Path) -> Dataset:
    return _prepared(workspace, tmp_path / "before.jsonl", [_row(number) for number in range(60)])


@pytest.fixture
def after(workspace: Workspace, tmp_path: Path) -> Dataset:
    rows = [_row(number) for number in range(1, 60)]
    rows[0]["completion"] = "It weighs eleven tonnes."
    return _prepared(
        workspace, tmp_path / "after.jsonl", [*rows, {"prompt": "Who carves?", "completion": "A sculptor."}]
    )


@pytest.fixture
def call(workspace: Workspace) -> Call:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(data_app, [*arguments, "--workspace", str(workspace.root)])
        if result.exception:
            raise result.exception
        return result.stdout

    return run


def _json(text: str) -> dict[str, Any]:
    return json.loads(text)


def test_show(call: Call, before: Dataset) -> None:
    printed = call("show", "before.jsonl")
    assert f"before.jsonl ({before.artefact.reference})" in printed
    assert "60 read, 60 kept, 0 in quarantine" in printed
    assert "personal  60 email" in printed
    account = _json(call("show", before.artefact.reference, "--json"))
    assert sum(account["splits"].values()) == 60
    assert account["personal_data"] == {"email": 60}
    assert account["dossier"] is None


def test_show_of_a_dataset_without_checks_is_refused(call: Call, workspace: Workspace) -> None:
    def build(draft: Draft) -> None:
        draft.summary.update(rows={"read": 1, "kept": 1, "quarantined": 0}, splits={"train": 1})

    workspace.make("dataset", {}, build, name="old.jsonl")
    with pytest.raises(Refusal, match="was prepared by an older Carrara, without checks; prepare the rows anew"):
        call("show", "old.jsonl")


def test_sample_is_a_function_of_the_seed_and_masked(call: Call, before: Dataset) -> None:
    first = call("sample", "before.jsonl", "-n", "3")
    assert first == call("sample", "before.jsonl", "-n", "3")
    assert first != call("sample", "before.jsonl", "-n", "3", "--seed", "1")
    assert first.count("— before.jsonl, row ") == 3
    assert first.count("<EMAIL>") == 3
    assert "@example-marble.com" not in first
    assert "\x1b" not in first
    assert "@example-marble.com" in call("sample", "before.jsonl", "--show-values")


def test_sample_as_json_is_masked(call: Call, before: Dataset) -> None:
    rows = _json(call("sample", "before.jsonl", "-n", "4", "--split", "test", "--json"))["rows"]
    known = {example.id for example in before.examples("test")}
    assert {row["id"] for row in rows} <= known
    assert all("<EMAIL>" in row["messages"][1]["content"] for row in rows)


def test_a_sample_is_in_the_order_of_the_source_and_at_most_everything(before: Dataset) -> None:
    train = before.examples("train")
    assert before.sample("train", 1000, seed=0) == train
    places = [train.index(example) for example in before.sample("train", 10, seed=4)]
    assert len(places) == 10
    assert places == sorted(places)


def test_sample_of_an_unknown_split_is_refused(call: Call, before: Dataset) -> None:
    with pytest.raises(Refusal, match="there is no split 'dev'; known are train, validation, test"):
        call("sample", before.artefact.reference, "--split", "dev")


def test_diff(call: Call, before: Dataset, after: Dataset) -> None:
    result = _json(call("diff", before.artefact.reference, after.artefact.reference, "--json"))
    assert result["counts"] == {"same": 58, "added": 1, "removed": 1, "changed": 1, "moved": 0}
    assert result["added"][0]["messages"][1]["content"] == "A sculptor."
    assert "<EMAIL>" in result["removed"][0]["messages"][1]["content"]
    printed = call("diff", "before.jsonl", "after.jsonl")
    assert "How heavy is block 1 of" in printed
    assert "It weighs [-1-]{+eleven+} tonnes" in printed
    assert "@example-marble.com" not in printed
    assert "\x1b" not in printed
