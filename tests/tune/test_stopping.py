"""What stops a run, what is kept of it then, and that it goes on from there to the same bits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.data.dataset import Dataset
from carrara.errors import GateFailed, Refusal
from carrara.models import Model
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe, Recipe, TuneRecipe
from carrara.tune import loop, state, step
from carrara.tune.checkpoint import newest_first
from carrara.tune.distributed import World
from carrara.tune.job import Job, make_training
from carrara.tune.objective import learn
from carrara.tune.run import tune_model
from carrara.tune.state import Place, Saver, last_good, take_best
from carrara.tune.step import take_step
from carrara.tune.training import History, Training
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs

Make = Callable[..., Training]


class Killed(Exception):
    """Stands in for a kill: nothing after it runs."""


class Listening(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Dataset:
    plain = PrepareRecipe(render="plain", test=0.1, validation=0.1)
    return prepared(workspace, write_pairs(tmp_path / "pairs.jsonl", 60), plain)


@pytest.fixture
def make(tiny_model: Model, dataset: Dataset, tmp_path: Path) -> Make:
    """Makes a training in a folder; the same folder again is the same run, started anew."""

    def made(folder: str, **keys: Any) -> Training:
        usual = {"batch_size": 8, "epochs": 1, "learning_rate": 1e-3, "dtype": "float32", "checkpoint_minutes": 0}
        recipe = Recipe(tune=TuneRecipe.model_validate(usual | keys))
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        return make_training(Job(tiny_model, dataset, recipe, World(0, 1), path, Silent()))[1]

    return made


def _weights(training: Training) -> dict[str, torch.Tensor]:
    return {name: master.detach().clone() for name, master in training.optimizer.masters.items()}


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _steps(training: Training) -> list[str]:
    return [path.name for path in newest_first(training.checkpoints)]


@pytest.mark.parametrize("keys", [{"dropout": 0.1}, {"method": "full"}, {"batching": "packed"}])
def test_a_half_collected_batch_is_gone_on_with(keys: dict[str, Any], make: Make) -> None:
    keys |= {"micro_batch_tokens": 100}
    whole = make("whole", **keys)
    end = loop.train(whole, Silent())
    cut = make("cut", **keys)
    place, saver = Place(0, History()), Saver(cut)

    def die_after_two() -> None:
        assert place.half
        if place.half.done == 2:
            saver.save(place)
            raise Killed

    batch = next(loop.batches_from(cut.lengths, 8, 0, 0))
    cut.network.train()
    with pytest.raises(Killed):
        take_step(cut, place, batch, die_after_two)
    assert _steps(cut) == ["step-00000000-000002"]
    again, told = make("cut", **keys), Listening()
    resumed = loop.train(again, told)
    assert re.search(r"after step 0 of 6 and 2 of \d+ passes", told.said[0])
    assert _same(_weights(again), _weights(whole))
    assert (resumed.step, resumed.history.last_loss) == (end.step, end.history.last_loss)
    assert resumed.history.tokens == end.history.tokens


def test_a_half_batch_of_other_passes_is_collected_anew(make: Make) -> None:
    whole = make("whole")
    loop.train(whole, Silent())
    cut = make("cut", micro_batch_tokens=100)
    place, saver = Place(0, History()), Saver(cut)

    def die() -> None:
        saver.save(place)
        raise Killed

    with pytest.raises(Killed):
        take_step(cut, place, next(loop.batches_from(cut.lengths, 8, 0, 0)), die)
    again = make("cut")
    loop.train(again, Silent())
    assert all(torch.allclose(one, _weights(whole)[name], atol=1e-5) for name, one in _weights(again).items())


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the held-out losses be measured, but for that of a step, which is a kill; 0 lets all be."""
    measure = loop._validate_if_due

    def given(step: int) -> None:
        def measured(training: Training, place: Place, point: dict[str, float]) -> str:
            if place.step == step:
                raise Killed
            return measure(training, place, point)

        monkeypatch.setattr(loop, "_validate_if_due", measured)

    return given


def test_torn_checkpoints_do_not_outlive_newer_good_ones(make: Make, kill_at: Callable[[int], None]) -> None:
    for kill in (5, 3, 0):
        kill_at(kill)
        training, told = make("run"), Listening()
        with nullcontext() if kill == 0 else pytest.raises(Killed):
            loop.train(training, told)
        if kill == 5:
            assert _steps(training) == ["step-00000004", "step-00000003"]
            for name in _steps(training):
                (training.checkpoints / name / "tensors.safetensors").write_bytes(b"torn")
        elif kill == 3:
            assert sum("is passed over" in sentence for sentence in told.said) == 2
            assert _steps(training) == ["step-00000002", "step-00000001"]
            assert last_good(training).endswith("step-00000002")
        else:
            assert "going on after step 2 of 6" in told.said[0]
            whole = make("whole")
            loop.train(whole, Silent())
            assert _same(_weights(training), _weights(whole))


@pytest.fixture
def held_out(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float | None]], None]:
    """Let the held-out losses be these; None is a kill."""

    def given(losses: list[float | None]) -> None:
        left: Iterator[float | None] = iter(losses)

        def next_loss(*_: Any) -> float:
            loss = next(left)
            if loss is None:
                raise Killed
            return loss

        monkeypatch.setattr(loop, "held_out_loss", next_loss)

    return given


@pytest.mark.parametrize("minutes", [0, 9])
@pytest.mark.parametrize("kills", [[], [3], [1, 4]])
def test_the_best_weights_and_the_patience_survive_kills(
    make: Make, held_out: Any, kills: list[int], minutes: float
) -> None:
    """Held-out losses 3, 2, 2.5, 2.4: the second is the best, and after two worse ones there is no patience left."""
    losses = [3.0, 2.0, 2.5, 2.4, 1.0, 1.0]
    keys = {"validate_every": 1, "patience": 2, "checkpoint_minutes": minutes}
    second = make("second", **keys, epochs=0.3, schedule="constant", warmup=0)
    held_out(losses)
    loop.train(second, Silent())
    assert second.steps == 2
    for kill in kills:
        training = make("run", **keys, schedule="constant", warmup=0)
        done = int(_steps(training)[0].split("-")[1]) if _steps(training) else 0
        held_out([*losses[done : kill - 1], None])
        with pytest.raises(Killed):
            loop.train(training, Silent())
    training = make("run", **keys, schedule="constant", warmup=0)
    done = int(_steps(training)[0].split("-")[1]) if _steps(training) else 0
    held_out(losses[done:])
    place = loop.train(training, Silent())
    assert (place.step, place.history.best_step, place.history.stale) == (4, 2, 2)
    assert take_best(training, place, Silent()) == 2
    assert _same(_weights(training), _weights(second))


def test_only_the_bests_that_count_are_kept(make: Make, held_out: Any) -> None:
    training = make("run", validate_every=1)
    held_out([3.0, 2.0, 2.5, 1.9, 1.8, 2.4])
    loop.train(training, Silent())
    kept = [path.name for path in newest_first(training.checkpoints / "best")]
    assert kept == ["step-00000005"]


def test_lost_best_weights_are_a_sentence(make: Make, held_out: Any) -> None:
    training, told = make("run", validate_every=1), Listening()
    held_out([3.0, 2.0, 2.5, 2.6, 2.7, 2.8])
    place = loop.train(training, told)
    (training.checkpoints / "best" / "step-00000002" / "tensors.safetensors").write_bytes(b"x")
    assert take_best(training, place, told) == 6
    assert "tensors.safetensors is torn or was changed; the last ones are kept" in told.said[-1]


def test_a_learning_rate_of_ten_stops_the_run(
    workspace: Workspace, tiny_model: Model, dataset: Dataset, tmp_path: Path
) -> None:
    recipe = Recipe(tune=TuneRecipe(method="full", learning_rate=10, batch_size=4, epochs=4, allow=("learning-rate",)))
    said = []
    for _ in range(2):
        with pytest.raises(GateFailed) as stopped:
            tune_model(workspace, tiny_model, dataset, recipe, Silent())
        said.append(str(stopped.value))
    assert said[0] == said[1]
    step = re.match(r"training stopped at step (\d+) of \d+: ", said[0])
    assert step
    assert int(step[1]) <= 6
    assert "Lower tune.learning_rate (it is 10) or look at these rows of the step: pairs.jsonl, row " in said[0]
    assert not workspace.list("run")


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_none_stops_the_run_and_the_state_before_is_kept(
    make: Make, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    steps = 3
    good = make("good", epochs=0.5, schedule="constant")
    assert good.steps == steps
    loop.train(good, Silent())
    calls = 0

    def poisoned(network: Any, tensors: Any, scale: float) -> torch.Tensor:
        nonlocal calls
        calls += 1
        loss = learn(network, tensors, scale)
        if calls <= steps:
            return loss
        next(p for p in network.parameters() if p.grad is not None).grad.fill_(torch.inf)
        return loss * torch.nan if what == "loss" else loss

    monkeypatch.setattr(step, "learn", poisoned)
    said: set[str] = set()
    training = make("run", checkpoint_minutes=9, schedule="constant")
    for again in (training, make("run", checkpoint_minutes=9, schedule="constant")):
        with pytest.raises(GateFailed) as stopped:
            loop.train(again, Silent())
        said.add(str(stopped.value))
        assert _steps(again) == ["step-00000003"]
        assert _same(_weights(again), _weights(good))
    (sentence,) = said
    named = "loss is nan" if what == "loss" else "norm of the gradient is "
    assert f"training stopped at step 4 of 6: the {named}" in sentence
    assert f"the last good state is kept in {training.checkpoints / 'step-00000003'}" in sentence


def test_a_step_that_breaks_the_weights_does_not_take_the_place_of_good_ones(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = make("run", method="full", checkpoint_minutes=0, schedule="constant")
    take, calls = type(training.optimizer).step, 0

    def breaking(optimizer: Any, rate: float) -> None:
        nonlocal calls
        calls += 1
        take(optimizer, rate)
        if calls == 3:
            for parameter in optimizer.parameters.values():
                parameter.data.fill_(torch.nan)

    monkeypatch.setattr(type(training.optimizer), "step", breaking)
    monkeypatch.setattr(Saver, "save_if_due", lambda saver, place: saver.save(place) if place.step == 2 else None)
    with pytest.raises(GateFailed, match=r"step 4 of .*the loss is nan"):
        loop.train(training, Silent())
    assert _steps(training) == ["step-00000002"]


def test_the_rows_without_a_number_are_named_first(make: Make) -> None:
    training = make("run", method="full", batch_size=4)
    rows = [replace(row, file="bad.jsonl") for row in training.rows]
    poison = max(token for row in rows for token in row.ids)
    training.network.get_input_embeddings().weight.data[poison] = torch.nan
    training = replace(training, rows=rows)
    with pytest.raises(GateFailed, match=r"step 1 of .*: the loss is nan.*bad.jsonl, row \d+ \(loss nan\)") as stopped:
        loop.train(training, Silent())
    assert "no step before it was worth keeping" in str(stopped.value)


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), MemoryError()])
def test_too_little_memory_says_what_to_lower(make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    calls = 0

    def greedy(*given: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return learn(*given)

    monkeypatch.setattr(step, "learn", greedy)
    training = make("run")
    with pytest.raises(Refusal, match=r"step 3; lower tune.micro_batch_tokens \(it is 1536\) or set tune.check"):
        loop.train(training, Silent())
    assert _steps(training)[0] == "step-00000002"
    monkeypatch.undo()
    again, whole = make("run"), make("whole")
    loop.train(again, Silent())
    loop.train(whole, Silent())
    assert _same(_weights(again), _weights(whole))


def test_an_error_that_is_not_about_room_is_not_taken_for_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(step, "learn", broken)
    with pytest.raises(RuntimeError, match="illegal"):
        loop.train(make("run"), Silent())


@pytest.mark.parametrize("full_at", [3, 6])
def test_a_full_disk_loses_no_run(make: Make, monkeypatch: pytest.MonkeyPatch, full_at: int) -> None:
    """In the middle it stops with a sentence; at the very end it goes on, so that the result can be written."""
    save = state.save_checkpoint

    def full(folder: Path, checkpoint: Any) -> None:
        if checkpoint.step == full_at:
            raise Refusal("the disk is full")
        save(folder, checkpoint)

    monkeypatch.setattr(state, "save_checkpoint", full)
    training, told = make("run", keep="last"), Listening()
    if full_at == training.steps:
        assert loop.train(training, told).step == full_at
        assert "the disk is full" in told.said
    else:
        with pytest.raises(Refusal, match="the disk is full"):
            loop.train(training, told)
    assert _steps(training)[0] == f"step-{full_at - 1:08d}"


def test_weights_that_do_badly_do_not_take_the_place_of_good_ones(make: Make) -> None:
    training = make("run")
    saver, place = Saver(training), Place(1, History())
    place.history.watch.see(1.4, 100, 259)
    saver.save_if_due(place)
    place.step = 2
    place.history.watch.see(9.0, 100, 259)
    saver.save_if_due(place)
    assert _steps(training) == ["step-00000001"]
