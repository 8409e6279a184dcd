"""QLoRA: the base in 4 bits while it learns and wherever it is asked afterwards."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from carrara.errors import Refusal
from carrara.models import Model, model_of_run
from carrara.models.load import load_model
from carrara.progress import Silent
from carrara.recipe import TuneRecipe
from carrara.serve.transformers_engine import load_engine
from carrara.tune.run import tune_model
from carrara.workspace import Workspace
from tests.tiny import write_pairs
from tests.tune.methods.ground import logits, saved, tuned
from tests.tune.methods.test_runs import plain_dataset, quick

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason='needs bitsandbytes: pip install "carrara[qlora]"'
)


@needs_bitsandbytes
@pytest.mark.parametrize("options", [{}, {"dora": True}, {"new_tokens": ("<|tool|>",)}], ids=["lora", "dora", "tokens"])
def test_saved_it_says_the_same_here_on_the_base_in_four_bits(
    tiny_model: Model, tmp_path: Path, options: dict[str, object]
) -> None:
    done = tuned(tiny_model, TuneRecipe(method="qlora", rank=4, **options))  # type: ignore[arg-type]
    assert done.losses[-1] < done.losses[0] - 0.1
    assert torch.uint8 in {parameter.dtype for parameter in done.network.parameters()}
    model = saved(done, tmp_path / "adapter")
    assert model.four_bit
    with torch.inference_mode():
        expected = logits(done.network)
        assert (logits(load_model(model, "float32").network) - expected).abs().max() < 1e-5
        assert (logits(load_model(replace(model, four_bit=False), "float32").network) - expected).abs().max() > 0.05


@needs_bitsandbytes
def test_a_run_is_its_base_in_four_bits_ever_after(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    dataset = plain_dataset(workspace, write_pairs(tmp_path / "pairs.jsonl", 40))
    run = tune_model(workspace, tiny_model, dataset, quick(method="qlora", rank=3), Silent())
    model = model_of_run(run.artefact, workspace)
    assert model.four_bit
    assert model.identity() != replace(model, four_bit=False).identity()
    second = tune_model(workspace, model, dataset, quick(), Silent())
    assert second.artefact.summary["method"] == "qlora"
    assert model_of_run(second.artefact, workspace).path == tiny_model.path
    assert load_engine({"base": tiny_model, "tuned": model}, "float32").models() == ["base", "tuned"]


def test_without_bitsandbytes_it_says_how_to_get_it(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.models.four_bit.find_spec", lambda name: None)
    with pytest.raises(Refusal, match=r'pip install "carrara\[qlora\]"'):
        load_model(replace(tiny_model, four_bit=True), "float32")
