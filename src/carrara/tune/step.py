"""One optimizer step: the gradient of a batch is collected pass by pass, agreed on, clipped and followed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from carrara.data.render.batches import collate, passes
from carrara.models.machine import peak_memory_mb
from carrara.tune.objective import learn
from carrara.tune.optimizer import learning_rate_at
from carrara.tune.sharded import is_spread
from carrara.tune.state import Half, Place
from carrara.tune.training import Training


def take_step(
    training: Training, place: Place, batch: Sequence[int], after_pass: Callable[[], None]
) -> dict[str, float]:
    """Move `place` on by one step and return the step's point of the curves; `after_pass` is called between passes.

    The loss is the mean over all supervised tokens of the batch, however it is cut up. Where it or the norm of the
    gradient is no finite number, neither weights nor `place` are moved on.
    """
    history, steps = place.history, training.steps
    supervised = sum(training.rows[row].supervised_count for row in batch)
    half = _collect(training, place, batch, supervised, after_pass)
    started = time.monotonic()
    loss = _agree(training, half.loss) / supervised
    norm = training.optimizer.clip()
    rate = learning_rate_at(place.step, steps, training.recipe)
    point = {"step": place.step + 1, "loss": loss, "learning_rate": rate, "gradient_norm": norm}
    if not math.isfinite(loss + norm):
        return point
    training.optimizer.step(rate)
    place.step, place.half = place.step + 1, None
    tokens = sum(training.lengths[row] for row in batch)
    seconds = half.seconds + time.monotonic() - started
    history.tokens += tokens
    history.supervised_tokens += supervised
    history.seconds += seconds
    history.first_loss = loss if history.first_loss is None else history.first_loss
    history.last_loss = loss
    return {
        **point,
        "tokens": tokens,
        "supervised_tokens": supervised,
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "memory_mb": peak_memory_mb(),
    }


def _collect(
    training: Training, place: Place, batch: Sequence[int], supervised: int, after_pass: Callable[[], None]
) -> Half:
    """Collect the gradient of this process's share of a batch, going on with what is half collected if it fits."""
    world, optimizer = training.world, training.optimizer
    opening = training.opening([training.rows[row] for row in batch])
    wanted = world.share(
        batch, lambda rows: passes(rows, training.lengths, training.pass_tokens, training.packed, opening)
    )
    if place.half is None or place.half.passes != wanted:
        optimizer.forget_gradients()
        place.half = Half(wanted)
    half = place.half
    for rows in half.passes[half.done :]:
        started = time.monotonic()
        weight = 1 if rows else 0  # an empty pass keeps step with the other processes, on any row
        learned = [training.rows[row] for row in rows or batch[:1]]
        tensors = collate(learned, training.device, training.packed, opening)
        half.loss += weight * learn(training.network, tensors, weight / supervised).item()
        optimizer.collect_gradients()
        half.done += 1
        half.seconds += time.monotonic() - started
        if half.done < len(half.passes):
            after_pass()
    return half


def _agree(training: Training, loss: float) -> float:
    """Sum gradients and loss over all processes; gradients that are spread over them are sums already."""
    import torch

    if training.world.size == 1:
        return loss
    total = torch.tensor([loss], dtype=torch.float64)
    gradients = [] if is_spread(training.network) else training.optimizer.gradients().values()
    training.world.sum([*gradients, total])
    return float(total.item())
