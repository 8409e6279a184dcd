"""`micro_batch_tokens: auto`: the pass follows the memory, the batch does not, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from carrara.data.render.example import Rendered
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import load_model
from carrara.models.machine import Machine
from carrara.progress import Silent
from carrara.recipe import Recipe, TuneRecipe
from carrara.tune import fit
from carrara.tune.curves import Curves
from carrara.tune.distributed import World
from carrara.tune.fit import fitting_tokens, keep_settled, plan_training, settled, settled_before
from carrara.tune.ledger import EnergyMeter
from carrara.tune.methods import attach, trainable
from carrara.tune.optimizer import Optimizer
from carrara.tune.training import Training

AUTO = Recipe(tune=TuneRecipe(micro_batch_tokens="auto", batch_size=8, dropout=0.5, dtype="float32"))


class Heard(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def _rows(*lengths: int) -> list[Rendered]:
    return [
        Rendered(tuple(3 + (n * 7 + k) % 200 for k in range(n)), (False,) * 8 + (True,) * (n - 8), k, str(k))
        for k, n in enumerate(lengths)
    ]


@pytest.fixture
def make(tiny_model: Model, tmp_path: Path) -> Callable[..., Training]:
    def build(rows: list[Rendered], tokens: int = 1024) -> Training:
        tune = AUTO.tune.model_copy(
            update={"micro_batch_tokens": tokens, "batching": "sorted", "checkpoint_activations": False}
        )
        loaded = load_model(tiny_model, "float32")
        network = attach(loaded, tune)
        return Training(
            network=network,
            optimizer=Optimizer(trainable(network), torch.float32, tune),
            rows=rows,
            validation=[],
            recipe=tune,
            device=loaded.device,
            world=World(0, 1),
            checkpoints=tmp_path / "checkpoints",
            meter=EnergyMeter(AUTO.cost),
            curves=Curves(tmp_path / "metrics.jsonl"),
        )

    return build


def _leave(monkeypatch: pytest.MonkeyPatch, each: float, places: float) -> None:
    """A machine whose memory holds so many places of `each` bytes beside what is held already."""
    monkeypatch.setattr(fit, "_weigh_place", lambda training: each)
    monkeypatch.setattr(fit, "_owed", lambda training: 0)
    monkeypatch.setattr(fit, "_held", lambda: 0)
    monkeypatch.setattr(fit, "_HEAD", 0)
    free = int(places * each / fit._SPARE) + 1
    monkeypatch.setattr(fit, "inspect_machine", lambda: Machine(2, 1 << 34, free, None, 0, False))


def test_a_plan_settles_what_is_auto_and_nothing_else(tiny_model: Model, make: Callable[..., Training]) -> None:
    rows = _rows(*[40] * 20)
    plan = plan_training(tiny_model, replace(make(rows), validation=rows[:2]), AUTO)
    tune = settled(AUTO.tune, plan)
    assert (tune.micro_batch_tokens, tune.checkpoint_activations) == (plan.micro_batch_tokens, False)
    assert tune.batching in ("sorted", "packed")
    changed = {"micro_batch_tokens", "checkpoint_activations", "batching"}
    assert tune.model_dump(exclude=changed) == AUTO.tune.model_dump(exclude=changed)
    assert (plan.tokens, plan.steps) == (800, 3)


def test_what_was_settled_holds_for_what_is_still_auto_in_a_run_that_has_begun(make: Callable[..., Training]) -> None:
    training, alone = make(_rows(40), tokens=96), World(0, 1)
    assert settled_before(AUTO.tune, training.checkpoints, alone) == {}
    keep_settled(training)
    assert settled_before(AUTO.tune, training.checkpoints, alone) == {}  # nothing is there to go on from
    (training.checkpoints / "step-00000001").mkdir()
    known = settled_before(AUTO.tune, training.checkpoints, alone)
    assert known["micro_batch_tokens"] == 96
    assert (known["batching"], known["checkpoint_activations"]) == ("sorted", False)
    assert known["parallel"] == "auto"  # what one process does binds no more of them
    changed = AUTO.tune.model_copy(update={"micro_batch_tokens": 64})
    assert "micro_batch_tokens" not in settled_before(changed, training.checkpoints, alone)


def test_less_memory_gives_smaller_passes_and_the_same_batch(
    make: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make(_rows(*[64] * 32))
    for places, expected in ((1e6, 1024), (512, 1024), (511, 256), (200, 128), (64, 64)):
        _leave(monkeypatch, 1000.0, places)
        heard = Heard()
        assert fitting_tokens(training, heard) == expected
        assert "still learns 8 rows" in heard.sentences[0]
    assert training.recipe.batch_size == 8


def test_one_long_row_passes_alone_or_a_sentence_says_what_to_lower(
    make: Callable[..., Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make(_rows(200, *[20] * 30))
    _leave(monkeypatch, 1000.0, 200)
    assert fitting_tokens(training, Silent()) == 256  # which hold one row of 200
    _leave(monkeypatch, 1000.0, 199)
    with pytest.raises(Refusal, match=r"the longest row has 200 tokens.*tune\.max_length"):
        fitting_tokens(training, Silent())


def test_weighing_leaves_everything_as_it_was(make: Callable[..., Training]) -> None:
    training = make(_rows(*[64] * 32))
    network, parameters = training.network, training.optimizer.parameters
    name = next(iter(parameters))
    gradient = parameters[name].grad = torch.ones_like(parameters[name])
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    chance, was_learning = torch.get_rng_state(), network.training
    fitting_tokens(training, Silent())
    assert torch.equal(torch.get_rng_state(), chance)
    assert network.training == was_learning
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())
    assert parameters[name].grad is gradient
    assert torch.equal(gradient, torch.ones_like(gradient))
    assert all(parameter.grad is None for key, parameter in parameters.items() if key != name)
    assert all(master.grad is None for master in training.optimizer.masters.values())


def test_a_place_weighs_what_a_pass_makes_the_process_grow(make: Callable[..., Training]) -> None:
    each = fit._weigh_place(make(_rows(*[250] * 8)))
    if each:  # where the system tells
        assert 1_000 < each < 1_000_000  # two layers of width 32 in float32, and what libraries keep


def test_an_accelerator_is_tried_until_it_fails(make: Callable[..., Training], monkeypatch: pytest.MonkeyPatch) -> None:
    training = replace(make(_rows(*[64] * 32), tokens=128), device=torch.device("cuda"))
    tried: list[int] = []

    def fits(tokens: int) -> bool:
        tried.append(tokens)
        return tokens <= 256

    monkeypatch.setattr(fit, "_succeeds", lambda training: fits)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: torch.no_grad())
    assert fitting_tokens(training, Silent()) == 256
    assert tried == [128, 256, 512]
