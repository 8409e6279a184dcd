"""The step loop on a tiny model: what must be equal is equal, what must be refused is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.data.dataset import Dataset
from carrara.data.render.dataset import render_usable
from carrara.models import Model, model_of_run
from carrara.models.load import load_model
from carrara.progress import Silent
from carrara.recipe import CostRecipe, PrepareRecipe, Recipe, TuneRecipe
from carrara.tune.curves import Curves, read_curves
from carrara.tune.distributed import World
from carrara.tune.fused import fuse
from carrara.tune.ledger import EnergyMeter
from carrara.tune.loop import held_out_loss, mean_loss, train
from carrara.tune.methods import attach, trainable
from carrara.tune.optimizer import Optimizer
from carrara.tune.run import tune_model
from carrara.tune.training import Training
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs

PLAIN = PrepareRecipe(render="plain", test=0.1, validation=0.1)


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Dataset:
    return prepared(workspace, write_pairs(tmp_path / "pairs.jsonl", 60), PLAIN)


def _training(model: Model, dataset: Dataset, recipe: TuneRecipe, folder: Path) -> Training:
    loaded = load_model(model, "float32")
    rows = render_usable(dataset, "train", loaded.tokenizer, loaded.context, Silent())
    torch.manual_seed(recipe.seed)
    network = attach(loaded, recipe)
    optimizer = Optimizer(trainable(network), loaded.dtype, recipe)
    meter, curves = EnergyMeter(CostRecipe()), Curves(folder / "metrics.jsonl")
    folder.mkdir(exist_ok=True)
    return Training(network, optimizer, rows, [], recipe, loaded.device, World(0, 1), folder, meter, curves)


def _losses(training: Training) -> list[float]:
    train(training, Silent())
    return [point["loss"] for point in read_curves(training.checkpoints / "metrics.jsonl")]


def _weights(training: Training) -> dict[str, torch.Tensor]:
    return training.optimizer.masters


@pytest.mark.parametrize("tokens", [1, 300])
@pytest.mark.parametrize("batching", ["sorted", "packed"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_accumulation_is_exact_at_unequal_lengths(
    method: Any, batching: Any, tokens: int, tiny_model: Model, dataset: Dataset, tmp_path: Path
) -> None:
    """One padded pass of the whole batch equals one row at a time and several packed windows."""
    recipe = TuneRecipe(method=method, batch_size=8, learning_rate=1e-3, micro_batch_tokens=10**6)
    cut = recipe.model_copy(update={"micro_batch_tokens": tokens, "batching": batching})
    whole = _training(tiny_model, dataset, recipe, tmp_path / "a")
    single = _training(tiny_model, dataset, cut, tmp_path / "b")
    pairs = zip(_losses(whole), _losses(single), strict=True)
    assert max(abs(a - b) for a, b in pairs) < 1e-5
    difference = max((_weights(whole)[n] - _weights(single)[n]).abs().max().item() for n in _weights(whole))
    assert difference < 1e-4


def test_the_loss_is_the_models_own_on_supervised_tokens(tiny_model: Model, dataset: Dataset, tmp_path: Path) -> None:
    training = _training(tiny_model, dataset, TuneRecipe(), tmp_path)
    rows = training.rows[:7]
    nats = 0.0
    with torch.inference_mode():
        for row in rows:
            logits = training.network.eval()(input_ids=torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
            nats -= sum(float(logits[i - 1, t]) for i, t in enumerate(row.ids) if row.supervised[i])
    expected = nats / sum(row.supervised_count for row in rows)
    assert mean_loss(training.network, rows, 200, training.device) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_step_is_the_same_when_what_rows_begin_with_is_computed_once(
    method: Any, tiny_model: Model, dataset: Dataset, tmp_path: Path
) -> None:
    """Also where rows share passes otherwise for it: 200 places hold more rows behind one opening."""
    recipe = TuneRecipe(method=method, batch_size=8, learning_rate=1e-3, micro_batch_tokens=200, batching="sorted")
    found = []
    for shares in (False, True):
        training = _training(tiny_model, dataset, recipe, tmp_path / str(shares))
        assert fuse(training.network)
        rows = [
            replace(row, ids=(7,) * 40 + row.ids, supervised=(False,) * 40 + row.supervised) for row in training.rows
        ]
        training = replace(training, rows=rows, shares=shares)
        assert training.opening(rows) == (40 if shares else 0)
        found.append((_losses(training), held_out_loss(training, rows[:9], 200), _weights(training)))
    (apart, held, weights), (shared, again, ours) = found
    assert max(abs(a - b) for a, b in zip(apart, shared, strict=True)) < 1e-5
    assert again == pytest.approx(held, abs=1e-5)
    assert max((weights[name] - ours[name]).abs().max().item() for name in weights) < 1e-4


def test_only_the_adapter_learns(tiny_model: Model, dataset: Dataset, tmp_path: Path) -> None:
    training = _training(tiny_model, dataset, TuneRecipe(rank=2), tmp_path)
    names = list(training.optimizer.parameters)
    assert all("lora_" in name for name in names)
    assert len(names) == 2 * 7 * 2  # A and B of seven projections in two layers
    before = {name: p.clone() for name, p in training.network.named_parameters() if name not in names}
    train(training, Silent())
    after = dict(training.network.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.any(_weights(training)[name] != 0) for name in names)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_run_learns_and_loads(method: Any, workspace: Workspace, tiny_model: Model, dataset: Dataset) -> None:
    recipe = Recipe(tune=TuneRecipe(method=method, epochs=6, learning_rate=3e-3, batch_size=8))
    run = tune_model(workspace, tiny_model, dataset, recipe, Silent())
    losses = [point["loss"] for point in run.curve]
    assert losses[-1] < 0.7 * losses[0]
    assert "validation_loss" in run.curve[-1]
    loaded = load_model(model_of_run(run.artefact, workspace), "float32")
    rows = render_usable(dataset, "validation", loaded.tokenizer, loaded.context, Silent())
    held_out = {point["step"]: point["validation_loss"] for point in run.curve if "validation_loss" in point}
    assert run.artefact.summary["kept"]["step"] == min(held_out, key=lambda step: held_out[step])
    # saved and loaded again, the model has the loss that training measured where it was best
    loss = mean_loss(loaded.network, rows, 4096, loaded.device)
    assert loss == pytest.approx(min(held_out.values()), abs=2e-2)
    again = tune_model(workspace, tiny_model, dataset, recipe, Silent())
    assert again.artefact.created == run.artefact.created


def test_an_adapter_is_a_plain_peft_adapter(workspace: Workspace, tiny_model: Model, dataset: Dataset) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = tune_model(workspace, tiny_model, dataset, Recipe(tune=TuneRecipe(learning_rate=1e-2)), Silent())
    base = AutoModelForCausalLM.from_pretrained(tiny_model.path)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        plain = base(ids).logits.clone()
        theirs = PeftModel.from_pretrained(base, run.artefact.path)(ids).logits
        ours = load_model(model_of_run(run.artefact, workspace), "float32").network(ids).logits
    assert torch.equal(theirs, ours)
    assert not torch.allclose(theirs, plain, atol=1e-3)


def test_full_tuning_starts_from_the_weights_as_stored(
    workspace: Workspace, tiny_model: Model, dataset: Dataset
) -> None:
    """With no learning to speak of, the saved weights are the stored ones and not their bfloat16 rounding."""
    recipe = Recipe(
        tune=TuneRecipe(
            method="full", learning_rate=1e-20, dtype="bfloat16", epochs=0.01, allow=("learning-rate", "steps")
        )
    )
    run = tune_model(workspace, tiny_model, dataset, recipe, Silent())
    before = load_model(tiny_model, "float32").network.state_dict()
    after = load_model(model_of_run(run.artefact, workspace), "float32").network.state_dict()
    assert max((before[name] - after[name]).abs().max().item() for name in before) < 1e-12


def test_rows_that_cannot_be_rendered_are_set_aside(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.jsonl", 30)
    path.write_text(path.read_text() + '{"prompt": "Hi<|im_end|>", "completion": "x"}\n')
    chat = prepared(workspace, path, PrepareRecipe(test=0, validation=0))
    run = tune_model(workspace, tiny_model, chat, Recipe(tune=TuneRecipe(batch_size=30)), Silent())
    assert run.artefact.summary["steps"] == 1
    loaded = load_model(tiny_model, "float32")
    said: list[str] = []

    class Listening(Silent):
        def say(self, sentence: str) -> None:
            said.append(sentence)

    assert len(render_usable(chat, "train", loaded.tokenizer, 256, Listening())) == 30
    assert "1 rows of the train split are set aside" in said[0]
    assert "control token <|im_end|>" in said[0]
