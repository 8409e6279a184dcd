"""Do learning rate, schedule, steps and sizes make sense together?"""

from __future__ import annotations

import math
from collections.abc import Iterator

from carrara.recipe import TuneRecipe
from carrara.tune.methods import decays
from carrara.tune.optimizer import learning_rate_at
from carrara.tune.truth.finding import Finding
from carrara.tune.truth.subject import Subject

_HIGH, _LOW = 100, 1e-3  # times the method's own learning rate; what is tuned by hand lies well within
_MOST_EPOCHS = 100
_SCALES = (1 / 64, 64)  # of alpha over rank, or its root; usual is 0.25 to 16
_LEAST_KEPT = 0.01  # of the weights by decay alone; what is learned meanwhile makes up for a half
_LEAST_SEEN = 0.1  # of the rows, by a single step
_LOOKED_AT = 500  # steps of the schedule
_EPSILON = 1e-8  # Adam's


def check_settings(subject: Subject) -> Iterator[Finding]:
    """Sums over the schedule, and bounds far outside of what anyone has found to work."""
    recipe, steps = subject.training.recipe, subject.training.steps
    usual = TuneRecipe(method=recipe.method).effective_learning_rate
    rate = recipe.effective_learning_rate
    if not _LOW * usual <= rate <= _HIGH * usual:
        end = "destroy the model" if rate > usual else "learn nothing"
        yield Finding(
            "learning-rate",
            f"tune.learning_rate is {rate:g}, {rate / usual:.1g} times what method {recipe.method} usually takes "
            f"({usual:g}); it would {end}.",
        )
    yield from _schedule(subject, recipe, steps)
    yield from _length(subject, recipe, steps)
    if recipe.method in ("lora", "qlora"):
        yield from _adapter(recipe)
    weights = sum(parameter.numel() for parameter in subject.training.optimizer.parameters.values())
    if recipe.clip / math.sqrt(max(1, weights)) < _EPSILON:
        yield Finding(
            "clip",
            f"tune.clip is {recipe.clip:g}: spread over {weights:,} weights, the gradient would be smaller than the "
            f"{_EPSILON:g} that Adam adds, and nothing is learned; 1 is usual.",
        )


def _schedule(subject: Subject, recipe: TuneRecipe, steps: int) -> Iterator[Finding]:
    shown = sorted({round(place * (steps - 1) / _LOOKED_AT) for place in range(_LOOKED_AT + 1)})
    rates = [learning_rate_at(step, steps, recipe) for step in shown]
    peak, mean = recipe.effective_learning_rate, sum(rates) / len(rates)
    if recipe.warmup > 0.5:
        yield Finding(
            "schedule",
            f"tune.warmup takes {math.ceil(recipe.warmup * steps):,} of {steps:,} steps; it is a share of the run, "
            "and 0.03 is usual.",
        )
    elif min(rates) < 0 or not 0.5 * peak <= max(rates) <= 1.001 * peak or mean < 0.2 * peak:
        yield Finding(
            "schedule",
            f"the learning rate goes from {rates[0]:.3g} to {rates[-1]:.3g}, at most {max(rates):.3g}, {mean:.3g} on "
            f"average, where tune.learning_rate is {peak:g}.",
        )
    kept = (1 - min(1.0, mean * recipe.weight_decay)) ** steps
    if kept < _LEAST_KEPT and any(decays(*named) for named in subject.training.optimizer.parameters.items()):
        yield Finding(
            "weight-decay",
            f"tune.weight_decay {recipe.weight_decay:g} alone would shrink the weights to {kept:.1%} over {steps:,} "
            "steps; 0 to 0.1 is usual.",
        )


def _length(subject: Subject, recipe: TuneRecipe, steps: int) -> Iterator[Finding]:
    rows = len(subject.training.rows)
    if recipe.epochs > _MOST_EPOCHS:
        yield Finding(
            "steps",
            f"tune.epochs is {recipe.epochs:g}: {rows:,} rows would be learned by heart in {steps:,} steps; 1 to 5 is "
            "usual.",
        )
    if steps < 2 and recipe.batch_size < _LEAST_SEEN * rows:
        yield Finding(
            "steps",
            f"{recipe.epochs:g} epochs make a single step, which sees {recipe.batch_size} of {rows:,} rows and changes "
            "next to nothing; raise tune.epochs.",
        )


def _adapter(recipe: TuneRecipe) -> Iterator[Finding]:
    scale = recipe.adapter_scale
    if not _SCALES[0] <= scale <= _SCALES[1]:
        yield Finding(
            "scale",
            f"tune.alpha {recipe.effective_alpha:g} at rank {recipe.rank} multiplies the adapter by {scale:.3g}; twice "
            "the rank, or leaving alpha out, is usual.",
        )
