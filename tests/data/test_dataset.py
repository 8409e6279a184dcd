"""Datasets: counts add up, splits depend on content and seed alone, a moved dataset is still the dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from carrara.data.dataset import SPLITS, export_dataset, prepare_dataset, split_of
from carrara.data.example import Example, Message
from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe
from carrara.workspace import Workspace
from tests.tiny import write_pairs

RECIPE = PrepareRecipe(test=0.2, validation=0.1)


def test_counts_add_up_to_the_rows_read(workspace: Workspace, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 200)
    path.write_text(path.read_text() + "[]\n\n{oops\n")
    summary = prepare_dataset(workspace, str(path), RECIPE, Silent()).artefact.summary
    assert summary["rows"] == {"read": 202, "kept": 200, "quarantined": 2}
    assert sum(summary["splits"].values()) == 200


def test_the_quarantine_holds_number_reason_and_row(workspace: Workspace, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 30)
    path.write_text(path.read_text() + '{"prompt": "p"}\n')
    dataset = prepare_dataset(workspace, str(path), RECIPE, Silent())
    (row,) = [json.loads(line) for line in (dataset.artefact.path / "quarantine.jsonl").read_text().splitlines()]
    assert (row["row"], row["field"], row["text"]) == (31, "completion", '{"prompt": "p"}')


def test_adding_rows_moves_no_other_row(workspace: Workspace, tmp_path: Path) -> None:
    def splits(count: int) -> dict[str, str]:
        dataset = prepare_dataset(workspace, str(write_pairs(tmp_path / f"{count}.jsonl", count)), RECIPE, Silent())
        return {example.id: split for split in SPLITS for example in dataset.examples(split)}

    small, large = splits(60), splits(90)
    assert len(large) == 90
    assert all(large[key] == split for key, split in small.items())


def test_the_split_shares_are_kept() -> None:
    examples = [Example((Message("user", str(n)), Message("assistant", "a")), (1,), n) for n in range(4000)]
    counts = [sum(split_of(example, RECIPE) == split for example in examples) / 4000 for split in SPLITS]
    assert counts == pytest.approx([0.7, 0.1, 0.2], abs=0.02)


def test_the_same_file_is_prepared_once(workspace: Workspace, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl")
    first = prepare_dataset(workspace, str(path), RECIPE, Silent()).artefact
    assert prepare_dataset(workspace, str(path), RECIPE, Silent()).artefact.created == first.created
    assert prepare_dataset(workspace, first.reference, RECIPE, Silent()).artefact == first


def test_an_exported_dataset_is_taken_by_another_workspace(workspace: Workspace, tmp_path: Path) -> None:
    dataset = prepare_dataset(workspace, str(write_pairs(tmp_path / "pairs.jsonl")), RECIPE, Silent())
    target = tmp_path / "set"
    export_dataset(dataset, target)
    export_dataset(dataset, target)  # again over itself
    other = Workspace(tmp_path / "other")
    assert prepare_dataset(other, str(target), RECIPE, Silent()).artefact.digest == dataset.artefact.digest
    (target / "train.jsonl").write_text("{}\n")
    with pytest.raises(Refusal, match="was changed"):
        prepare_dataset(Workspace(tmp_path / "third"), str(target), RECIPE, Silent())
    with pytest.raises(Refusal, match="is no dataset"):
        export_dataset(dataset, tmp_path)


def test_a_file_of_bad_rows_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("[]\n{}\n")
    with pytest.raises(Refusal, match=r"no row of .* can be used.*row 1"):
        prepare_dataset(workspace, str(path), RECIPE, Silent())
    assert workspace.list("dataset") == []
