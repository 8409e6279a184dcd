"""The step loop, the same for every method and any number of processes."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from carrara.data.render.batches import batches_from, collate, count_steps, passes
from carrara.data.render.example import Rendered
from carrara.errors import Refusal, is_out_of_memory
from carrara.progress import Progress
from carrara.tune.blame import stopped
from carrara.tune.distributed import World
from carrara.tune.objective import summed_loss
from carrara.tune.state import Place, Saver, keep_best, last_good, random_state, restore_random_state, resume
from carrara.tune.step import take_step
from carrara.tune.training import Training

if TYPE_CHECKING:
    import torch

_ALONE = World(0, 1)
_ONE_PRESS = 1.0  # seconds: torchrun hands on the Ctrl-C that a terminal has sent to all


def train(training: Training, progress: Progress) -> Place:
    """Run all steps, from the newest whole checkpoint if there is one; returns where it ended.

    Raises GateFailed when the run diverges, Refusal when memory or disk do not suffice, and KeyboardInterrupt after
    Ctrl-C (the step is finished and saved). What was saved before stays whole each time.
    """
    place = resume(training, progress)
    training.curves.resume(place.step)
    try:
        _run(training, place, progress)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise Refusal(
            f"there is not enough memory for step {place.step + 1}; lower tune.micro_batch_tokens (it is "
            f"{training.pass_tokens}) or set tune.checkpoint_activations: true, which leave the batch as it is, and "
            f"run the same command again ({last_good(training)})."
        ) from error
    finally:
        training.curves.close()
    return place


def _run(training: Training, place: Place, progress: Progress) -> None:
    recipe, steps, saver = training.recipe, training.steps, Saver(training)
    batches = batches_from(training.lengths, recipe.batch_size, recipe.seed, place.step)
    training.network.train()
    with _interruptible() as interrupted, progress.track("training", steps, "step", done=place.step) as advance:
        while place.step < steps and not _has_stopped_early(training, place):
            batch, chance = next(batches), random_state(training.device)
            point = take_step(training, place, batch, lambda: saver.save_if_due(place))
            reason = _what_is_wrong(training, place, point)
            if reason and point["step"] != place.step:  # not taken: the state before it is a good one, most likely
                is_good = bool(place.step) and _is_sound(training)
                _go_back(training, place, chance)
                if is_good:
                    saver.save_good(place)
            reason = reason or _validate_if_due(training, place, point)
            if reason:
                raise stopped(training, int(point["step"]), batch, reason)
            training.curves.write(point)
            advance(1, training.curves.describe())
            stop = training.world.any(interrupted()) and place.step < steps
            _save(saver, place, stop, place.step == steps, progress)
            if stop:
                progress.say(f"step {place.step} of {steps} is finished and saved")
                raise KeyboardInterrupt
    place.history.energy_wh += training.meter.take()


def _go_back(training: Training, place: Place, chance: Mapping[str, torch.Tensor]) -> None:
    """Forget what was collected for the step behind `place`, as if it had not begun."""
    training.optimizer.forget_gradients()
    restore_random_state(chance, training.device)
    place.half = None


def _is_sound(training: Training) -> bool:
    """Whether the weights still give a number for the shortest row: then it was not the step before that broke them."""
    import torch

    row = min(training.rows, key=lambda row: len(row.ids))
    with torch.inference_mode():
        return math.isfinite(summed_loss(training.network, collate([row], training.device)).item())


def _save(saver: Saver, place: Place, stop: bool, is_last: bool, progress: Progress) -> None:
    """Save after a step if it is due; a full disk at the very end must not keep the result from being written."""
    try:
        if stop or is_last:
            saver.save(place)
        else:
            saver.save_if_due(place)
    except Refusal as refusal:
        if not is_last:
            raise
        progress.say(str(refusal))


def _what_is_wrong(training: Training, place: Place, point: dict[str, float]) -> str:
    """Why the run cannot go on after a step, empty if it can."""
    for key, name in (("loss", "loss"), ("gradient_norm", "norm of the gradient")):
        if not math.isfinite(point[key]):
            return f"the {name} is {point[key]}"
    return place.history.watch.see(point["loss"], training.steps, training.network.config.vocab_size)


def _validate_if_due(training: Training, place: Place, point: dict[str, float]) -> str:
    """Measure the held-out loss where it is wanted; returns why the run cannot go on, empty if it can."""
    recipe, history, step = training.recipe, place.history, place.step
    every = recipe.validate_every or count_steps(len(training.rows), recipe.batch_size, 1)
    if not training.validation or (step % every and step < training.steps):
        return ""
    started = time.monotonic()
    loss = held_out_loss(training, training.validation, training.pass_tokens)
    history.validation_seconds += time.monotonic() - started
    if reason := history.watch.see_held_out(loss, training.network.config.vocab_size):
        return reason
    point["validation_loss"] = loss
    history.stale += 1
    if history.best_loss is None or loss < history.best_loss:
        history.best_loss, history.best_step, history.stale = loss, step, 0
        if recipe.keep == "best":
            keep_best(training, place)
    return ""


def _has_stopped_early(training: Training, place: Place) -> bool:
    patience = training.recipe.patience
    return patience is not None and place.history.stale >= patience


def held_out_loss(training: Training, rows: Sequence[Rendered], tokens: int) -> float:
    """What `mean_loss` gives for some rows, with passes of so many places as training takes them."""
    opening = training.opening(rows)
    return mean_loss(training.network, rows, tokens, training.device, training.packed, training.world, opening)


def mean_loss(
    network: Any,
    rows: Sequence[Rendered],
    tokens: int,
    device: torch.device,
    packed: bool = False,
    world: World = _ALONE,
    opening: int = 0,
) -> float:
    """The mean negative log-likelihood in nats per supervised token, without learning; each process does its share."""
    import torch

    lengths = [len(row.ids) for row in rows]
    order = sorted(range(len(rows)), key=lambda row: lengths[row])
    parts = world.share(order, lambda share: passes(share, lengths, tokens, packed, opening))
    network.eval()
    with torch.inference_mode():
        total = sum(
            summed_loss(network, collate([rows[row] for row in part or order[:1]], device, packed, opening)).item()
            * bool(part)  # an empty one keeps step with the other processes
            for part in parts
        )
    network.train()
    summed = torch.tensor([total], dtype=torch.float64)
    world.sum([summed])
    return float(summed.item()) / sum(row.supervised_count for row in rows)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag, so that the step can end and be saved; a second one is immediate."""
    pressed: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: bool(pressed)
        return

    def on_interrupt(signum: int, frame: object) -> None:
        del signum, frame
        pressed.append(time.monotonic())
        if pressed[-1] - pressed[0] > _ONE_PRESS:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
