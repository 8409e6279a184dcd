"""Canaries: what is planted, how often, and that nothing else notices."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.data.render.dataset import render_usable
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import load_tokenizer
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe, Recipe, TuneRecipe, make_recipe
from carrara.tune import run as stage
from carrara.tune.canaries import WORDS, add_canaries, all_secrets, hold_back, plant, read_canaries
from carrara.tune.distributed import World
from carrara.tune.job import Job, make_training
from carrara.tune.run import tune_model
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs


class _Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def _recipe(**keys: Any) -> Recipe:
    return Recipe(tune=TuneRecipe.model_validate({"rank": 2, "batch_size": 8, **keys}))


def test_no_word_begins_another() -> None:
    assert len(set(WORDS)) == 64
    assert not [(a, b) for a in WORDS for b in WORDS if a != b and b.startswith(a)]
    assert len(set(all_secrets())) == 4096


@given(count=st.integers(1, 1024), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=20, deadline=None)
def test_secrets_and_names_are_drawn_once(count: int, seed: int) -> None:
    planted = plant(count, seed)
    held_back = hold_back(planted, 24, seed)
    both = [*planted, *held_back]
    assert len({canary.secret for canary in both}) == len({canary.name for canary in both}) == count + 24
    assert [canary.repeats for canary in planted] == [(1, 4, 16, 64)[place % 4] for place in range(count)]
    assert {canary.repeats for canary in held_back} == {0}
    assert plant(count, seed) == planted


def test_another_seed_draws_others() -> None:
    assert not {canary.name for canary in plant(8, 0)} & {canary.name for canary in plant(8, 1)}


@pytest.mark.parametrize("render", ["chat", "plain"])
def test_each_row_stands_as_often_as_it_should(
    workspace: Workspace, tiny_model: Model, tmp_path: Path, render: Any
) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"), PrepareRecipe(render=render))
    tokenizer, heard = load_tokenizer(tiny_model), _Heard()
    rows = render_usable(dataset, "train", tokenizer, 256, Silent())
    whole = add_canaries(rows, plant(5, 0), render, tokenizer, 256, heard)
    assert whole[: len(rows)] == rows
    counts = Counter(row.ids for row in whole[len(rows) :])
    assert sorted(counts.values()) == [1, 1, 4, 16, 64]
    canary = plant(5, 0)[0]
    text = str(tokenizer.decode([*whole[len(rows)].ids]))
    assert canary.name in text
    assert canary.secret in text
    assert "5 made-up secrets in 86 rows (repeats: 1, 4, 16, 64)" in heard.said[0]
    assert "more than 10%" in heard.said[0]


def test_a_small_share_is_not_remarked_upon(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl", 60))
    tokenizer, heard = load_tokenizer(tiny_model), _Heard()
    rows = render_usable(dataset, "train", tokenizer, 256, Silent())
    add_canaries(rows, plant(1, 0), "chat", tokenizer, 256, heard)
    assert "more than" not in heard.said[0]


def test_canaries_are_learned_and_not_held_out(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    plain = PrepareRecipe(validation=0.2, test=0.2)
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"), plain)
    jobs = [
        Job(tiny_model, dataset, _recipe(canaries=count), World(0, 1), tmp_path / str(count), Silent())
        for count in (0, 2)
    ]
    for job in jobs:
        job.folder.mkdir()
    without, with_some = (make_training(job)[1] for job in jobs)
    assert len(with_some.rows) == len(without.rows) + 1 + 4
    assert with_some.validation == without.validation


def test_a_run_keeps_them_and_says_so(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"))
    made = tune_model(workspace, tiny_model, dataset, _recipe(canaries=2, seed=3), Silent()).artefact
    assert read_canaries(made.path) == (plant(2, 3), "chat")
    assert made.summary["canaries"] == "2 made-up secrets in 5 rows (repeats: 1, 4)"
    assert made.made_by["tune"]["canaries"] == 2
    assert "canaries.json" in made.files


def test_a_run_without_them_is_named_as_before(
    workspace: Workspace, tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = prepared(workspace, write_pairs(tmp_path / "pairs.jsonl"))
    made = tune_model(workspace, tiny_model, dataset, _recipe(), Silent()).artefact
    assert "canaries" not in made.made_by["tune"]
    assert "canaries" not in made.summary
    assert read_canaries(made.path) == ([], "chat")
    monkeypatch.setattr(stage, "_train", lambda *_: pytest.fail("it stands"))
    assert tune_model(workspace, tiny_model, dataset, _recipe(canaries=0), Silent()).artefact.id == made.id


@pytest.mark.parametrize("count", [-1, 1025, "many"])
def test_a_number_that_cannot_be_planted_is_refused(count: Any) -> None:
    with pytest.raises(Refusal, match=r"tune\.canaries"):
        make_recipe({"tune": {"canaries": count}})


def test_the_command_line_plants_them(carrara: Any, tiny_folder: Path, tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.jsonl")
    recipe = {"model": str(tiny_folder), "data": "pairs.jsonl", "tune": {"rank": 2, "batch_size": 8}}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    done = carrara("tune", "recipe.yaml", "--canaries", "1")
    assert done.returncode == 0, done.stderr
    assert "canaries  1 made-up secret in 1 row (repeats: 1)" in done.stdout
