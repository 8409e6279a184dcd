"""What a checkpoint holds of a training, and how a training goes on from one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carrara.errors import Refusal
from carrara.models.machine import peak_memory_mb
from carrara.progress import Progress
from carrara.tune.checkpoint import (
    KEPT,
    Checkpoint,
    load_checkpoint,
    load_newest,
    load_state,
    newest_first,
    remove_others,
    save_checkpoint,
)
from carrara.tune.sharded import collected
from carrara.tune.training import History, Training, history_from_json

if TYPE_CHECKING:
    import torch

_GRADIENT = "gradient/"
_DEAREST = 20  # a save that takes a second is made every 20 seconds at most


@dataclass
class Half:
    """A step whose gradient is half collected: its passes, how many are done, and what they came to."""

    passes: list[list[int]]
    done: int = 0
    loss: float = 0.0
    seconds: float = 0.0


@dataclass
class Place:
    """Where a training stands: after `step` steps, and perhaps in the middle of the next."""

    step: int
    history: History
    half: Half | None = None


class Saver:
    """Saves a training when it is due; only the leading process writes."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._saved = time.monotonic()
        self._cost = 0.0

    def save_if_due(self, place: Place) -> None:
        """Save if the recipe's interval has passed and the weights are worth it.

        In the middle of a step only one process alone can save, and only where an interval is asked for.
        """
        training, wanted = self._training, self._training.recipe.checkpoint_minutes * 60
        if place.half and (training.world.size > 1 or not wanted):
            return
        due = time.monotonic() - self._saved >= (max(wanted, _DEAREST * self._cost) if wanted else 0)
        if due if place.half else training.world.any(training.world.leads and due):
            self.save_good(place)

    def save_good(self, place: Place) -> None:
        """Save unless the weights do badly, lest they take the place of good ones on the disk."""
        if not place.history.watch.is_uneasy(self._training.steps):
            self.save(place)

    def save(self, place: Place) -> None:
        """Write a checkpoint, then drop those that nothing falls back on; raises Refusal on a full disk."""
        training = self._training
        place.history.energy_wh += training.meter.take()
        place.history.peak_memory_mb = max(place.history.peak_memory_mb, peak_memory_mb())
        started, half = time.monotonic(), place.half
        tensors = _tensors(training, half)
        if not training.world.leads:
            return
        state = {
            "identity": training.identity,
            "history": place.history.to_json(),
            "half": asdict(half) if half else None,
        }
        checkpoint = Checkpoint(place.step, tensors, state, half.done if half else 0)
        save_checkpoint(training.checkpoints, checkpoint)
        remove_others(training.checkpoints, [path.name for path in newest_first(training.checkpoints)[:KEPT]])
        _remove_other_bests(training, place.history)
        self._saved = time.monotonic()
        self._cost = self._saved - started


def resume(training: Training, progress: Progress) -> Place:
    """Put the newest whole checkpoint of this run back, if there is one; says what it passes over, and drops it."""
    import torch

    checkpoint = load_newest(training.checkpoints, training.identity, progress.say)
    if len(training.world.stack(torch.tensor(checkpoint.step if checkpoint else 0)).unique()) > 1:
        raise Refusal(
            f"the processes do not find the same checkpoints in {training.checkpoints}; put the workspace on a disk "
            "that all of them share, and run the same command again."
        )
    if training.world.leads:  # what was passed over would count as newer than all that is saved from here on
        found = [path.name for path in newest_first(training.checkpoints)]
        remove_others(training.checkpoints, [name for name in found if checkpoint and name <= checkpoint.name])
    if checkpoint is None:
        return Place(0, History())
    half = Half(**checkpoint.state["half"]) if checkpoint.state["half"] else None
    inside = f" and {half.done} of {len(half.passes)} passes" if half else ""
    progress.say(f"going on after step {checkpoint.step} of {training.steps}{inside}")
    _restore(training, checkpoint.tensors)
    return Place(checkpoint.step, history_from_json(checkpoint.state["history"]), half)


def keep_best(training: Training, place: Place) -> None:
    """Write the weights as the best so far; they stay until no checkpoint counts on them."""
    weights = collected(training.optimizer.weights(), training.world.leads)
    if training.world.leads:
        save_checkpoint(_bests(training), Checkpoint(place.step, weights, {}))


def take_best(training: Training, place: Place, progress: Progress) -> int:
    """Put the best weights back and return their step; if they were lost, say so and keep the last."""
    best = place.history.best_step
    if best is None or best == place.step:
        return place.step
    path = _bests(training) / Checkpoint(best, {}, {}).name
    try:
        training.optimizer.restore(load_checkpoint(path).tensors)
    except Refusal as refusal:
        progress.say(f"the best weights, {path}, are passed over: {refusal}; the last ones are kept")
        return place.step
    return best


def last_good(training: Training) -> str:
    """Where the newest checkpoint is, as the end of a sentence."""
    found = newest_first(training.checkpoints)
    return f"the last good state is kept in {found[0]}" if found else "no step before it was worth keeping"


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Where the sources of chance stand that training draws from."""
    import torch

    states = {"random/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random/cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_state(states: Mapping[str, torch.Tensor], device: torch.device) -> None:
    """Put them back to there."""
    import torch

    torch.set_rng_state(states["random/cpu"])
    if "random/cuda" in states:
        torch.cuda.set_rng_state(states["random/cuda"], device)


def _tensors(training: Training, half: Half | None) -> dict[str, torch.Tensor]:
    """Everything that a checkpoint holds, in the leading process; the others help to gather it."""
    world = training.world
    chance = {name: world.stack(state) for name, state in random_state(training.device).items()}
    tensors = {**collected(training.optimizer.tensors(), world.leads), **chance}
    if half:
        tensors |= {_GRADIENT + name: gradient for name, gradient in training.optimizer.gradients().items()}
    return tensors


def _restore(training: Training, tensors: Mapping[str, torch.Tensor]) -> None:
    training.optimizer.restore(tensors)
    training.optimizer.take_gradients(
        {name.removeprefix(_GRADIENT): tensor for name, tensor in tensors.items() if name.startswith(_GRADIENT)}
    )
    chance = {name: states for name, states in tensors.items() if name.startswith("random/")}
    rank = training.world.rank  # copies, as torch misreads a part of a tensor here
    mine = {name: states[rank % len(states)].clone() for name, states in chance.items()}
    restore_random_state(mine, training.device)


def _bests(training: Training) -> Path:
    return training.checkpoints / "best"


def _remove_other_bests(training: Training, history: History) -> None:
    """Remove the best weights that neither the training nor a checkpoint counts on."""
    states = [load_state(path) for path in newest_first(training.checkpoints)]
    needed = {history.best_step, *(state["history"]["best_step"] for state in states if state)}
    remove_others(_bests(training), {Checkpoint(step, {}, {}).name for step in needed if step is not None})
