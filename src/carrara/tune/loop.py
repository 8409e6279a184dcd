"""The step loop, the same for every method and any number of processes."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.data.render.batches import batches_from, collate, count_steps, micro_batches
from carrara.data.render.example import Rendered
from carrara.errors import Refusal
from carrara.progress import Progress
from carrara.recipe import TuneRecipe
from carrara.tune.checkpoint import Checkpoint, load_newest, save_checkpoint
from carrara.tune.distributed import World
from carrara.tune.ledger import EnergyMeter
from carrara.tune.objective import summed_loss
from carrara.tune.optimizer import Optimizer, learning_rate_at

if TYPE_CHECKING:
    import torch


@dataclass
class History:
    """What has happened so far; it travels in each checkpoint."""

    curve: list[dict[str, float]] = field(default_factory=list)
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    energy_wh: float = 0.0


@dataclass(frozen=True)
class Training:
    """All that the loop needs; `rows` and `validation` are the same in every process."""

    network: Any
    optimizer: Optimizer
    rows: Sequence[Rendered]
    validation: Sequence[Rendered]
    recipe: TuneRecipe
    device: torch.device
    world: World
    checkpoints: Path
    meter: EnergyMeter

    @property
    def steps(self) -> int:
        return count_steps(len(self.rows), self.recipe.batch_size, self.recipe.epochs)


def train(training: Training, progress: Progress) -> History:
    """Run all steps, from the newest whole checkpoint if there is one.

    Raises Refusal when loss or gradient is no number, KeyboardInterrupt after Ctrl-C (the step is finished and saved).
    """
    first, history = _resume(training, progress)
    lengths = [len(row.ids) for row in training.rows]
    batches = batches_from(lengths, training.recipe.batch_size, training.recipe.seed, first)
    training.network.train()
    saved = time.monotonic()
    with _interruptible() as interrupted, progress.track("training", training.steps, "step", done=first) as advance:
        for step in range(first, training.steps):
            started = time.monotonic()
            _one_step(training, history, step, next(batches), lengths)
            history.seconds += time.monotonic() - started
            _validate_if_due(training, history, step)
            advance(1, _detail(history))
            stop = training.world.any(interrupted())
            is_last = step + 1 == training.steps
            due = time.monotonic() - saved >= training.recipe.checkpoint_minutes * 60
            if is_last or due or stop:
                history.energy_wh += training.meter.take()
            if training.world.leads and not is_last and (due or stop):
                _save(training, history, step + 1)
                saved = time.monotonic()
            if stop and not is_last:
                raise KeyboardInterrupt
    return history


def _one_step(training: Training, history: History, step: int, batch: list[int], lengths: list[int]) -> None:
    """One optimizer step: the loss is the mean over all supervised tokens of the batch, however it is cut up."""
    recipe, world = training.recipe, training.world
    supervised = sum(training.rows[row].supervised_count for row in batch)
    loss = 0.0
    for part in micro_batches(batch[world.rank :: world.size], lengths, recipe.micro_batch_tokens):
        summed = summed_loss(training.network, collate([training.rows[row] for row in part], training.device))
        (summed / supervised).backward()
        training.optimizer.collect_gradients()
        loss += summed.item()
    loss = _agree(training, loss) / supervised
    _require_finite("loss", loss, training, batch, step)
    rate = learning_rate_at(step, training.steps, recipe)
    norm = training.optimizer.clip()
    _require_finite("norm of the gradient", norm, training, batch, step)
    training.optimizer.step(rate)
    history.tokens += sum(lengths[row] for row in batch)
    history.supervised_tokens += supervised
    history.curve.append({"step": step + 1, "loss": loss, "learning_rate": rate, "gradient_norm": norm})


def _require_finite(name: str, value: float, training: Training, batch: list[int], step: int) -> None:
    """Stop before a number that is none reaches the weights, naming the rows."""
    if not math.isfinite(value):
        rows = ", ".join(str(training.rows[row].row) for row in batch)
        raise Refusal(
            f"the {name} of step {step + 1} is {value}; training stopped (rows {rows}). "
            "Lower tune.learning_rate or look at these rows."
        )


def _agree(training: Training, loss: float) -> float:
    """Sum gradients and loss over all processes; a process without rows in this batch adds zeros."""
    import torch

    if training.world.size == 1:
        return loss
    for master in training.optimizer.masters.values():
        if master.grad is None:
            master.grad = torch.zeros_like(master)
    total = torch.tensor([loss], dtype=torch.float64)
    training.world.sum([*training.optimizer.gradients(), total])
    return float(total.item())


def mean_loss(network: Any, rows: Sequence[Rendered], tokens: int, device: torch.device) -> float:
    """The mean negative log-likelihood in nats per supervised token, without learning."""
    import torch

    lengths = [len(row.ids) for row in rows]
    order = sorted(range(len(rows)), key=lambda row: lengths[row])
    network.eval()
    with torch.inference_mode():
        parts = micro_batches(order, lengths, tokens)
        total = sum(summed_loss(network, collate([rows[row] for row in part], device)).item() for part in parts)
    network.train()
    return total / sum(row.supervised_count for row in rows)


def _validate_if_due(training: Training, history: History, step: int) -> None:
    """Measure the validation loss at the end of each epoch and of the run."""
    per_epoch = count_steps(len(training.rows), training.recipe.batch_size, 1)
    if not training.validation or not ((step + 1) % per_epoch == 0 or step + 1 == training.steps):
        return
    loss = mean_loss(training.network, training.validation, training.recipe.micro_batch_tokens, training.device)
    history.curve[-1]["validation_loss"] = loss


def _detail(history: History) -> str:
    rate = history.tokens / history.seconds if history.seconds else 0.0
    return f"loss {history.curve[-1]['loss']:.3f} · {rate:,.0f} tokens/s"


def _save(training: Training, history: History, step: int) -> None:
    import torch

    tensors = {**training.optimizer.tensors(), "random/cpu": torch.get_rng_state()}
    if training.device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(training.device)
    save_checkpoint(training.checkpoints, Checkpoint(step, tensors, vars(history)))


def _resume(training: Training, progress: Progress) -> tuple[int, History]:
    import torch

    checkpoint = load_newest(training.checkpoints)
    if checkpoint is None:
        return 0, History()
    progress.say(f"going on after step {checkpoint.step} of {training.steps}")
    training.optimizer.restore(checkpoint.tensors)
    torch.set_rng_state(checkpoint.tensors["random/cpu"])
    if "random/cuda" in checkpoint.tensors:
        torch.cuda.set_rng_state(checkpoint.tensors["random/cuda"], training.device)
    return checkpoint.step, History(**checkpoint.state)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag, so that the step can end and be saved; a second one is immediate."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def on_interrupt(signum: int, frame: object) -> None:
        del signum, frame
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
