"""Runs of each method: a stopped one ends as if it had not been, and a finished one can be gone on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.models import Model, model_of_run
from carrara.models.load import load_model, load_tokenizer
from carrara.progress import Advance, Silent
from carrara.recipe import PrepareRecipe, Recipe, TuneRecipe
from carrara.tune.run import tune_model
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs

MOVING: dict[str, dict[str, Any]] = {
    "lora": {"rank": 3, "dropout": 0.05},
    "pissa": {"rank": 3, "pissa": True},
    "dora": {"rank": 3, "dora": True},
    "tokens": {"rank": 3, "new_tokens": ("<|tool|>",)},
    "ia3": {"method": "ia3"},
    "prefix": {"method": "prefix", "virtual_tokens": 4},
    "prompt": {"method": "prompt", "virtual_tokens": 4},
}


def plain_dataset(workspace: Workspace, rows: Path) -> Dataset:
    """The dataset of a file, rendered without a chat template."""
    return prepared(workspace, rows, PrepareRecipe(render="plain", validation=0.2))


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Dataset:
    return plain_dataset(workspace, write_pairs(tmp_path / "pairs.jsonl", 40))


@pytest.mark.parametrize("options", MOVING.values(), ids=list(MOVING))
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    recipe = quick(**options, checkpoint_minutes=0)
    with pytest.raises(Stopped):
        tune_model(workspace, tiny_model, dataset, recipe, StopsAfter())
    resumed = tune_model(workspace, tiny_model, dataset, recipe, Silent())
    other = Workspace(tmp_path / "other")
    whole = tune_model(other, tiny_model, dataset, recipe, Silent())
    assert whole.artefact.summary["steps"] > StopsAfter.STEPS
    one, two = (load_file(run.artefact.path / "adapter_model.safetensors") for run in (resumed, whole))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert load_model(model_of_run(resumed.artefact, workspace)).context <= 256


def quick(**options: Any) -> Recipe:
    """A recipe of few steps, which learn fast."""
    fitting = {
        "batch_size": 8,
        "learning_rate": 3e-3,
        "dtype": "float32",
        "allow": ("learning-rate",),
    }
    return Recipe(tune=TuneRecipe(**{**fitting, **options}))


class Stopped(Exception):
    pass


class StopsAfter(Silent):
    """The Progress at which a run comes to grief after some steps."""

    STEPS = 2

    def __init__(self) -> None:
        self._left = self.STEPS

    @contextmanager
    def track(self, label: str, total: int, unit: str, done: int = 0) -> Iterator[Advance]:
        def advance(count: int, detail: str = "") -> None:
            del detail
            self._left -= count * (unit == "step")
            if self._left < 0:
                raise Stopped

        del label, total, done
        yield advance


# ---- moving on ----


@pytest.mark.parametrize("options", MOVING.values(), ids=list(MOVING))
def test_a_run_goes_on_with_an_adapter(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, options: dict[str, Any]
) -> None:
    """It starts with the loss that the first ended with, and ends as one adapter on the base of the first."""
    first = tune_model(workspace, tiny_model, dataset, quick(**options, keep="last"), Silent())
    model = model_of_run(first.artefact, workspace)
    still = quick(learning_rate=1e-20)
    same = tune_model(workspace, model, dataset, still, Silent())
    one, two = (load_file(run.artefact.path / "adapter_model.safetensors") for run in (first, same))
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[key], two[key], atol=1e-6) for key in one)
    second = tune_model(workspace, model, dataset, quick(), Silent())
    assert second.artefact.inputs["model"] == first.artefact.reference
    found = model_of_run(second.artefact, workspace)
    assert (found.path, found.digest) == (tiny_model.path, tiny_model.digest)
    assert found.adapter == second.artefact.path
    loaded = load_model(found, "float32")
    assert loaded.network.peft_config.keys() == {"default"}
    assert len(loaded.tokenizer) == (260 if "new_tokens" in options else 259)
    assert second.artefact.summary["method"] == options.get("method", "lora")
    assert second.curve[-1]["validation_loss"] < first.curve[-1]["validation_loss"] + 0.05


def test_a_tokenizer_that_an_adapter_brings_stays_with_it(
    workspace: Workspace, tiny_model: Model, dataset: Dataset
) -> None:
    first = model_of_run(tune_model(workspace, tiny_model, dataset, quick(), Silent()).artefact, workspace)
    assert first.adapter
    assert not (first.adapter / "tokenizer.json").exists()
    own = shutil.copytree(first.adapter, workspace.root / "own")
    tokenizer = load_tokenizer(first)
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(own)
    second = tune_model(workspace, replace(first, adapter=own, adapter_digest="own"), dataset, quick(), Silent())
    assert load_tokenizer(model_of_run(second.artefact, workspace)).chat_template == tokenizer.chat_template


def test_a_full_run_goes_on_with_any_method(workspace: Workspace, tiny_model: Model, dataset: Dataset) -> None:
    first = tune_model(workspace, tiny_model, dataset, quick(method="full"), Silent())
    second = tune_model(workspace, model_of_run(first.artefact, workspace), dataset, quick(rank=2), Silent())
    model = model_of_run(second.artefact, workspace)
    assert (model.path, model.adapter) == (first.artefact.path, second.artefact.path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"method": "full"}, "tune.method is full, but run/.* was trained with lora and goes on so"),
        ({"rank": 8}, "tune.rank is 8, but run/.* was trained with 3"),
        ({"targets": ("v_proj",)}, "tune.targets is v_proj, but run/.* was trained with q_proj"),
        ({"dora": True}, "tune.dora is True"),
        ({"pissa": True}, "tune.pissa is a way to begin"),
        ({"new_tokens": ("<|a|>",)}, "tune.new_tokens is <|a|>, but"),
    ],
)
def test_a_recipe_that_contradicts_the_adapter_is_refused(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, options: dict[str, Any], sentence: str
) -> None:
    first = tune_model(workspace, tiny_model, dataset, quick(rank=3, targets=("q_proj",)), Silent())
    with pytest.raises(Refusal, match=sentence):
        tune_model(workspace, model_of_run(first.artefact, workspace), dataset, quick(**options), Silent())


def test_an_adapter_of_an_unknown_type_is_refused(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, tmp_path: Path
) -> None:
    config = {"peft_type": "VERA", "task_type": "CAUSAL_LM"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(Refusal, match="type VERA, which is not trained here"):
        tune_model(workspace, replace(tiny_model, adapter=tmp_path), dataset, quick(), Silent())
