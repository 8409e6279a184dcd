"""Recipes: typed, unknown keys refused by name, options over file over defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.errors import Refusal
from carrara.recipe import DEFAULT_MODEL, Recipe, make_recipe, override, read_recipe


def _read(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path)


def test_the_whole_contract_is_understood(tmp_path: Path) -> None:
    recipe = _read(
        tmp_path,
        """
model: hub:org/name@main
data: rows.jsonl
tune: {method: full, rank: 8, epochs: 2, batch_size: 4, learning_rate: 1e-4, seed: 3}
evaluate: {tasks: [arc_easy], protocol: leaderboard-2023-10, limit: 10}
gate: [{task: arc_easy, require: better}]
""",
    )
    assert (recipe.tune.method, recipe.tune.learning_rate, recipe.tune.seed) == ("full", 1e-4, 3)
    assert recipe.evaluate.tasks == ("arc_easy",)
    assert recipe.gate[0].require == "better"


def test_defaults_follow_the_method() -> None:
    assert make_recipe({}).model == DEFAULT_MODEL
    assert make_recipe({}).tune.effective_learning_rate == 5e-4
    assert make_recipe({"tune": {"method": "full"}}).tune.effective_learning_rate == 5e-5
    assert make_recipe({"tune": {"rank": 8}}).tune.effective_alpha == 16


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate: 1", ["unknown key 'learning_rate'", "known here: model, data"]),
        ("tune: {learning_rte: 1}", ["unknown key 'tune.learning_rte'", "learning_rate"]),
        ("tune: {rank: 0}", ["key 'tune.rank'", "greater than 0"]),
        ("tune: {method: magic}", ["key 'tune.method'", "magic"]),
        ("evaluate: {tasks: arc_easy}", ["key 'evaluate.tasks'"]),
        ("gate: [{task: x, margn: 1}]", ["unknown key 'gate.0.margn'", "margin"]),
        ("[]", ["holds no recipe"]),
        ("", ["holds no recipe"]),
        ("a: [", ["no valid YAML"]),
        ("!!python/object/apply:os.system [echo]", ["no valid YAML"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        _read(tmp_path, text)
    assert all(word in str(refused.value) for word in words)
    assert "\n" not in str(refused.value)


def test_files_that_are_no_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="does not exist"):
        read_recipe(tmp_path / "none.yaml")
    with pytest.raises(Refusal, match="cannot be read"):
        read_recipe(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(Refusal, match="not UTF-8"):
        read_recipe(tmp_path / "binary.yaml")


def test_options_go_over_the_file() -> None:
    recipe = make_recipe({"tune": {"rank": 4, "method": "lora"}})
    changed = override(recipe, {"model": "x", "data": None, "tune": {"method": "full", "rank": None}})
    assert (changed.model, changed.data, changed.tune.method, changed.tune.rank) == ("x", None, "full", 4)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2))
KEYS = st.sampled_from(["model", "data", "tune", "evaluate", "gate", "rank", "tasks", "x"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=3), max_size=4))
def test_no_mapping_makes_a_traceback(content: dict[str, Any]) -> None:
    try:
        recipe = make_recipe(content)
    except Refusal as refusal:
        assert str(refusal)  # noqa: PT017
    else:
        assert isinstance(recipe, Recipe)


@pytest.mark.parametrize(
    ("tune", "sentence"),
    [
        ({"micro_batch_tokens": 0}, "key 'tune.micro_batch_tokens': input should be greater than 0 or .*'auto', not 0"),
        ({"targets": []}, "key 'tune.targets': .*at least 1 item"),
        ({"seed": 2**70}, "key 'tune.seed': input should be less than"),
        ({"rank": 0}, "key 'tune.rank': input should be greater than 0, not 0"),
    ],
)
def test_a_wrong_value_is_named_once_with_its_reasons(tune: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        make_recipe({"tune": tune})


def test_the_usual_learning_rate_knows_how_a_method_begins() -> None:
    rates = [make_recipe({"tune": tune}).tune.effective_learning_rate for tune in ({}, {"pissa": True})]
    assert rates == [5e-4, 2e-4]
    assert make_recipe({"tune": {"lora_plus": 16}}).tune.effective_learning_rate == 5e-4 / 4
