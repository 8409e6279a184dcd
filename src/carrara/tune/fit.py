"""Planning a run, and settling what its recipe leaves on `auto`, once; the batch stays what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from carrara.data.render.batches import collate
from carrara.data.render.example import Rendered
from carrara.data.render.plan import lengths_of, plan_here
from carrara.errors import Refusal, is_out_of_memory
from carrara.models import Model
from carrara.models.forward import QUERIES_AT_ONCE
from carrara.models.machine import give_back_memory, inspect_machine
from carrara.models.plan import Plan
from carrara.models.shape import shape_in
from carrara.progress import Progress
from carrara.recipe import Recipe, TuneRecipe
from carrara.tune.checkpoint import newest_first
from carrara.tune.distributed import World
from carrara.tune.objective import chunk_size, learn
from carrara.tune.training import Training
from carrara.workspace import write_atomically

_SETTLED = "settled.json"  # beside the checkpoints, which are gone on with in the same way
_TRIAL = QUERIES_AT_ONCE  # places of the pass that is weighed on a processor: no row is heavier for its length
_LEARNED = 8  # supervised tokens of a row in it: the head's memory does not grow with a pass
_HEAD = 2  # times the logits that exist at once: with their logarithms, which become the gradient
_SPARE = 0.95  # of the memory, lest the allocator's gaps tip it over


def plan_training(model: Model, training: Training, recipe: Recipe) -> Plan:
    """The plan of training a model by a recipe, on this machine."""
    shape, parameters = shape_in(model.path)
    lengths = lengths_of(training.rows, training.validation, training.shares)
    return plan_here(shape, parameters, recipe.tune, lengths, recipe.cost)


def settled(tune: TuneRecipe, plan: Plan) -> TuneRecipe:
    """The recipe with each `auto` that a plan has settled; none of them changes what a step learns from."""
    keys = ("micro_batch_tokens", "checkpoint_activations", "batching")
    return tune.model_copy(update={key: getattr(plan, key) for key in keys})


def keep_settled(training: Training) -> None:
    """Write down how the run was settled, for `settled_before`."""
    recipe = training.recipe
    kept = {
        "micro_batch_tokens": recipe.micro_batch_tokens,
        "batching": recipe.batching,
        "checkpoint_activations": recipe.checkpoint_activations,
        "parallel": recipe.parallel if training.world.size > 1 else "auto",  # one process decides nothing for more
    }
    training.checkpoints.mkdir(exist_ok=True)
    write_atomically(training.checkpoints / _SETTLED, json.dumps(kept))


def settled_before(tune: TuneRecipe, checkpoints: Path, world: World) -> dict[str, Any]:
    """What the recipe leaves on `auto` and was settled when the run began; nothing for one that begins now.

    All processes get what the leading one reads.
    """
    path = checkpoints / _SETTLED
    begun = world.leads and newest_first(checkpoints) and path.is_file()
    kept = json.loads(world.from_leader(path.read_text(encoding="utf-8") if begun else "{}"))
    return {key: value for key, value in kept.items() if getattr(tune, key) == "auto"}


def fitting_tokens(training: Training, progress: Progress) -> int:
    """The most places of a pass that fit, beginning at the recipe's, which a plan has settled.

    On an accelerator passes over the longest rows are run, forward and back, the next larger as long as they succeed;
    on a processor, where a larger pass gains little speed and costs memory, one small pass is weighed and scaled,
    since a system without memory asks nobody. Weights, gradients and random numbers stay as they are. Raises Refusal
    if the longest row does not fit.
    """
    longest = len(_longest_row(training).ids)
    most = longest * training.recipe.batch_size
    tokens = max(training.pass_tokens, longest)
    on_accelerator = training.device.type == "cuda"
    with _as_found(training):
        fits = _succeeds(training) if on_accelerator else _weighed(training)
        while not fits(tokens):
            if tokens == longest:
                raise Refusal(
                    f"the longest row has {longest:,} tokens, whose pass does not fit into the memory here; lower "
                    "tune.max_length, set tune.checkpoint_activations: true, or choose a method that learns less."
                )
            tokens = max(tokens // 2, longest)
        while on_accelerator and tokens < most and fits(2 * tokens):
            tokens *= 2
    progress.say(f"passes of {tokens:,} places fit; a step still learns {training.recipe.batch_size} rows")
    return tokens


def _largest_pass(training: Training, tokens: int) -> list[Rendered]:
    """A pass of the longest row as often as `tokens` places and a batch hold it."""
    row = _longest_row(training)
    return [row] * max(1, min(tokens // len(row.ids), training.recipe.batch_size))


def _longest_row(training: Training) -> Rendered:
    return max(training.rows, key=lambda row: len(row.ids))


def _pass(training: Training, rows: Sequence[Rendered]) -> None:
    """One pass forward and back; its gradients are dropped."""
    learn(training.network, collate(rows, training.device, training.packed), 1.0)
    for parameter in training.optimizer.parameters.values():
        parameter.grad = None


def _owed(training: Training) -> int:
    """Bytes that the first step will allocate for good: summed gradients and two moments in float32."""
    return 12 * sum(parameter.numel() for parameter in training.optimizer.parameters.values())


def _succeeds(training: Training) -> Callable[[int], bool]:
    """Whether a pass of so many places succeeds on the accelerator and leaves what the optimizer will need."""
    import torch

    def fits(tokens: int) -> bool:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(training.device)
        room = torch.cuda.mem_get_info(training.device)[0] + torch.cuda.memory_reserved(training.device)
        try:
            _pass(training, _largest_pass(training, tokens))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            for parameter in training.optimizer.parameters.values():
                parameter.grad = None
            return False
        return torch.cuda.max_memory_allocated(training.device) + _owed(training) <= _SPARE * room

    return fits


def _weighed(training: Training) -> Callable[[int], bool]:
    """Whether a pass of so many places will fit a processor's memory, by the weight of a small one."""
    each = _weigh_place(training)
    machine = inspect_machine()
    logits = 4 * training.network.config.vocab_size * chunk_size(training.network.config.vocab_size, "cpu")
    room = _SPARE * machine.memory_free - _held() - _owed(training) - _HEAD * logits

    def fits(tokens: int) -> bool:
        return each * sum(len(row.ids) for row in _largest_pass(training, tokens)) <= room

    return fits


def _weigh_place(training: Training) -> float:
    """Bytes by which this process grows for each place of a pass; 0 where the system does not tell."""
    row = _longest_row(training)
    ids = row.ids[:_TRIAL]
    learned = min(_LEARNED, len(ids) - 1)
    small = replace(row, ids=ids, supervised=(False,) * (len(ids) - learned) + (True,) * learned)
    rows = [small] * (_TRIAL // len(ids))
    _pass(training, [small])  # the first also loads libraries and makes room that is kept
    if not give_back_memory():
        return 0.0
    before = _held()
    _pass(training, rows)  # the allocator keeps what is freed, so the growth is that of the peak
    return max(0, _held() - before) / (len(rows) * len(ids))


def _held() -> int:
    """Bytes that this process holds."""
    import psutil

    return psutil.Process().memory_info().rss


@contextmanager
def _as_found(training: Training) -> Iterator[None]:
    """Learn for a while, and leave mode, gradients and random numbers as they were."""
    import torch

    network, was_learning = training.network, training.network.training
    gradients = {name: parameter.grad for name, parameter in training.optimizer.parameters.items()}
    network.train()
    with torch.random.fork_rng([training.device] if training.device.type == "cuda" else []):
        try:
            yield
        finally:
            network.train(was_learning)
            for name, parameter in training.optimizer.parameters.items():
                parameter.grad = gradients[name]
