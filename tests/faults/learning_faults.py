"""What a broken trainer would do to what learns, how it is measured, and at what rate."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch

import carrara.tune.job as job
import carrara.tune.loop as loop
import carrara.tune.step as step
import carrara.tune.truth.settings as settings
from carrara.tune.training import Training
from tests.faults.ground import Broken, SetUp, TrainerFault


def _after(change: Callable[[Training, random.Random], None]) -> TrainerFault:
    return lambda setup, chance: Broken(after=lambda training: change(training, chance))


def base_learns(training: Training, chance: random.Random) -> None:
    base = [p for n, p in training.network.named_parameters() if "lora_" not in n]
    chance.choice(base).requires_grad_(True)


def adapter_frozen(training: Training, chance: random.Random) -> None:
    names = [n for n in training.optimizer.parameters if "lora_" in n]
    training.optimizer.parameters[chance.choice(names)].requires_grad_(False)


def optimizer_misses_some(training: Training, chance: random.Random) -> None:
    for name in chance.sample(sorted(training.optimizer.parameters), 2):
        del training.optimizer.parameters[name], training.optimizer.masters[name]


def optimizer_holds_copies(training: Training, chance: random.Random) -> None:
    for name in chance.sample(sorted(training.optimizer.parameters), chance.randint(1, 8)):
        training.optimizer.parameters[name] = torch.nn.Parameter(training.optimizer.parameters[name].detach().clone())


def adapter_off(training: Training, chance: random.Random) -> None:
    training.network.base_model.disable_adapter_layers()
    for parameter in training.optimizer.parameters.values():
        parameter.requires_grad_(True)


def scale_wrong(training: Training, chance: random.Random) -> None:
    by = chance.choice([0, 0.25, 3, 10])
    for module in training.network.modules():
        if hasattr(module, "lora_A"):
            module.scaling = {name: value * by for name, value in module.scaling.items()}


def not_fresh(training: Training, chance: random.Random) -> None:
    for name, parameter in training.optimizer.parameters.items():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter.data, std=chance.uniform(0.2, 1))


def one_matrix_detached(training: Training, chance: random.Random) -> None:
    layer = chance.choice([module for module in training.network.modules() if hasattr(module, "lora_A")])
    inner = layer.lora_B["default"]
    inner.forward = lambda x: torch.nn.functional.linear(x, inner.weight.detach())


def adapter_elsewhere(setup: SetUp, chance: random.Random) -> Broken:
    """The adapter sits on fewer modules than the recipe names."""
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    only = tuple(chance.sample(names, chance.randint(1, 6)))

    def make(attach: Any) -> Any:
        return lambda loaded, recipe: attach(loaded, recipe.model_copy(update={"targets": only}))

    return Broken(((job, "attach", make),))


def another_rank(setup: SetUp, chance: random.Random) -> Broken:
    """Rank and alpha fall back to the library's own."""

    def make(attach: Any) -> Any:
        return lambda loaded, recipe: attach(loaded, recipe.model_copy(update={"rank": 8, "alpha": 8.0}))

    return Broken(((job, "attach", make),))


# ---- measuring and schedule ----


def dropout_while_measuring(setup: SetUp, chance: random.Random) -> Broken:
    setup.recipe["tune"]["dropout"] = chance.uniform(0.3, 0.6)

    def make(mean_loss: Any) -> Any:
        def wrong(network: Any, *args: Any) -> float:
            evaluate = network.eval
            network.eval = network.train
            try:
                return mean_loss(network, *args)
            finally:
                network.eval = evaluate

        return wrong

    return _measuring(make)


def _measuring(make: Callable[[Any], Any]) -> Broken:
    return Broken(((loop, "mean_loss", make),))


def held_out_by_rows(setup: SetUp, chance: random.Random) -> Broken:
    def make(mean_loss: Any) -> Any:
        return lambda network, rows, *args: (
            mean_loss(network, rows, *args) * sum(row.supervised_count for row in rows) / len(rows)
        )

    return _measuring(make)


def _schedule(change: Callable[[float], float]) -> Broken:
    def make(rate: Any) -> Any:
        return lambda *args: change(rate(*args))

    return Broken(((step, "learning_rate_at", make), (settings, "learning_rate_at", make)))


def schedule_at_nothing(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.choice([0.0, 1e-6, 0.01])
    return _schedule(lambda rate: rate * by)


def schedule_too_high(setup: SetUp, chance: random.Random) -> Broken:
    by = chance.choice([2, 8, 64])
    return _schedule(lambda rate: rate * by)


FAULTS: Mapping[str, TrainerFault] = MappingProxyType(
    {
        "base learns": _after(base_learns),
        "adapter frozen in part": _after(adapter_frozen),
        "optimizer misses some": _after(optimizer_misses_some),
        "optimizer holds copies": _after(optimizer_holds_copies),
        "adapter switched off": _after(adapter_off),
        "adapter's scale wrong": _after(scale_wrong),
        "adapter not fresh": _after(not_fresh),
        "one matrix detached": _after(one_matrix_detached),
        "adapter on fewer modules": adapter_elsewhere,
        "another rank and alpha": another_rank,
        "dropout while measuring": dropout_while_measuring,
        "held-out loss by rows": held_out_by_rows,
        "schedule at nothing": schedule_at_nothing,
        "schedule too high": schedule_too_high,
    }
)
