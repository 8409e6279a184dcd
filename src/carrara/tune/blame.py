"""The sentence of a run that was stopped: why, the rows it happened on, and the way out."""

from __future__ import annotations

import math
from collections.abc import Sequence

from carrara.data.render.batches import collate
from carrara.errors import GateFailed
from carrara.tune.objective import summed_loss
from carrara.tune.state import last_good
from carrara.tune.training import Training

_NAMED = 5  # rows in the sentence


def stopped(training: Training, step: int, batch: Sequence[int], reason: str) -> GateFailed:
    """What to raise for a run that diverged at a step, its rows looked at one by one now that it has stopped."""
    return GateFailed(
        f"training stopped at step {step} of {training.steps}: {reason}. Lower tune.learning_rate (it is "
        f"{training.recipe.effective_learning_rate:g}) or look at these rows of the step: {_worst(training, batch)}. "
        f"Nothing is recorded as a run; {last_good(training)}, and the same command would stop here again."
    )


def _worst(training: Training, batch: Sequence[int]) -> str:
    """The rows of a batch with the highest losses of their own, those without a number first."""
    import torch

    training.network.eval()
    losses: list[tuple[float, int]] = []
    with torch.inference_mode():
        for row in batch:
            rendered = training.rows[row]
            total = summed_loss(training.network, collate([rendered], training.device)).item()
            losses.append((total / rendered.supervised_count, row))
    losses.sort(key=lambda pair: -pair[0] if math.isfinite(pair[0]) else -math.inf)
    return ", ".join(f"{training.rows[row].where} (loss {loss:.3g})" for loss, row in losses[:_NAMED])
