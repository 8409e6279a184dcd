"""Datasets: counts add up, splits depend on content and seed alone, a moved dataset is still the dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carrara.data.dataset import SPLITS, export_dataset
from carrara.data.example import Example, Message
from carrara.data.prepare.split import place_of, split_at
from carrara.errors import Refusal
from carrara.recipe import PrepareRecipe
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs

RECIPE = PrepareRecipe(test=0.2, validation=0.1)


def test_counts_add_up_to_the_rows_read(workspace: Workspace, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 200)
    path.write_text(path.read_text() + "[]\n\n{oops\n")
    summary = prepared(workspace, path, RECIPE).artefact.summary
    assert summary["rows"] == {"read": 202, "kept": 200, "quarantined": 2}
    assert sum(summary["splits"].values()) == 200


def test_the_quarantine_holds_number_reason_and_row(workspace: Workspace, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 30)
    path.write_text(path.read_text() + '{"prompt": "p"}\n')
    dataset = prepared(workspace, path, RECIPE)
    (row,) = [json.loads(line) for line in (dataset.artefact.path / "quarantine.jsonl").read_text().splitlines()]
    assert (row["row"], row["field"], row["text"]) == (31, "completion", '{"prompt": "p"}')


def test_adding_rows_moves_no_other_row(workspace: Workspace, tmp_path: Path) -> None:
    def splits(count: int) -> dict[str, str]:
        dataset = prepared(workspace, write_pairs(tmp_path / f"{count}.jsonl", count), RECIPE)
        return {example.id: split for split in SPLITS for example in dataset.examples(split)}

    small, large = splits(60), splits(90)
    assert len(large) == 90
    assert all(large[key] == split for key, split in small.items())


def test_the_split_shares_are_kept() -> None:
    examples = [Example((Message("user", str(n)), Message("assistant", "a")), (1,), n) for n in range(4000)]
    counts = [sum(split_at(place_of(example, 0), RECIPE) == split for example in examples) / 4000 for split in SPLITS]
    assert counts == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


def test_the_same_file_is_prepared_once(workspace: Workspace, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl")
    first = prepared(workspace, path, RECIPE).artefact
    assert prepared(workspace, path, RECIPE).artefact.created == first.created
    assert prepared(workspace, first.reference, RECIPE).artefact == first


def test_an_exported_dataset_is_taken_by_another_workspace(workspace: Workspace, tmp_path: Path) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"), RECIPE)
    target = tmp_path / "set"
    export_dataset(dataset, target)
    export_dataset(dataset, target)  # again over itself
    other = Workspace(tmp_path / "other")
    assert prepared(other, target, RECIPE).artefact.digest == dataset.artefact.digest
    (target / "train.jsonl").write_text("{}\n")
    with pytest.raises(Refusal, match="was changed"):
        prepared(Workspace(tmp_path / "third"), target, RECIPE)
    with pytest.raises(Refusal, match="is no dataset"):
        export_dataset(dataset, tmp_path)


def test_a_file_of_bad_rows_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("[]\n{}\n")
    with pytest.raises(Refusal, match=r"bad\.jsonl has the fields \(none\), expected prompt"):
        prepared(workspace, path, RECIPE)
    assert workspace.list("dataset") == []
