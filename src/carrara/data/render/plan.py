"""From rows to a plan: how their lengths are cut into passes, and the settings with which a run fits the machine."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

from carrara.data.render.batches import count_steps, passes, plan_epoch, shared_opening
from carrara.data.render.example import Rendered
from carrara.models.catalogue import Shape
from carrara.models.estimate import Passes, Work
from carrara.models.machine import Machine, choose_device, choose_dtype, inspect_machine
from carrara.models.plan import Plan, plan_work
from carrara.models.rates import Rates, measure_rates
from carrara.recipe import CostRecipe, TuneRecipe

# Places of one pass that `auto` tries, the largest first. On a processor more than these few gain little speed and
# cost memory (benchmarks/README.md).
_ENOUGH_FOR_A_PROCESSOR = 1536
_SIZES = (*(2**power for power in range(17, 10, -1)), _ENOUGH_FOR_A_PROCESSOR, 1024, 512, 256)
_TOGETHER = 8  # rows of which it is asked what they begin with alike
_SAMPLE = 20_000  # rows from which the passes of many are told


@dataclass(frozen=True)
class Lengths:
    """The tokens of each row as they will be trained and validated on, and the share of them that is learned.

    `opening` tokens are the same in the rows of most batches, and each pass computes them once.
    """

    train: Sequence[int]
    validation: Sequence[int] = ()
    learned: float = 1.0
    opening: int = 0


def lengths_of(rows: Sequence[Rendered], validation: Sequence[Rendered], shares: bool = False) -> Lengths:
    """The lengths of rendered rows; `shares` says whether a pass computes once what its rows begin with."""
    train = [len(row.ids) for row in rows]
    learned = sum(row.supervised_count for row in rows) / max(1, sum(train))
    some = [rows[start : start + _TOGETHER] for start in range(0, min(len(rows), _SAMPLE), _TOGETHER)]
    opening = round(statistics.median_low(map(shared_opening, some))) if shares and some else 0
    return Lengths(train, [len(row.ids) for row in validation], learned, opening)


def plan_here(shape: Shape, parameters: int, tune: TuneRecipe, rows: Lengths, cost: CostRecipe) -> Plan:
    """The plan of a run on this machine, whose rates are measured once in a process; imports torch."""
    dtype, device = choose_dtype(tune.dtype), choose_device()
    rates = measure_rates(device, dtype, tuple(shape.linears().values()), _ENOUGH_FOR_A_PROCESSOR)
    plan = plan_run(shape, parameters, tune, rows, inspect_machine(), rates, cost)
    if tune.method == "qlora" and find_spec("bitsandbytes") is None:
        return replace(plan, reason="needs bitsandbytes")
    return plan


def plan_run(
    shape: Shape,
    parameters: int,
    tune: TuneRecipe,
    rows: Lengths,
    machine: Machine,
    rates: Rates,
    cost: CostRecipe,
) -> Plan:
    """The plan with the first settings that fit, where the recipe says `auto`; the leanest if none does."""
    plan = None
    for settled in _settings(tune, rows, machine):
        plan = plan_work(shape, parameters, settled, count_work(rows, settled), machine, rates, cost)
        if plan.memory.high <= machine.working_memory:
            break
    assert plan is not None
    return plan


def _settings(tune: TuneRecipe, rows: Lengths, machine: Machine) -> Iterator[TuneRecipe]:
    """The recipe with each `auto` settled, the fastest settings first."""
    again, tokens, batching = tune.checkpoint_activations, tune.micro_batch_tokens, tune.batching
    if batching == "auto":
        batching = "packed" if machine.accelerator else "sorted"
    cached = tune.method in ("prefix", "prompt")  # their virtual tokens are, which a second pass would not see
    for kept in (again,) if again != "auto" else (False,) if cached else (False, True):
        for size in _sizes(tune, rows, machine) if tokens == "auto" else (tokens,):
            settled = {"checkpoint_activations": kept, "micro_batch_tokens": size, "batching": batching}
            yield tune.model_copy(update=settled)


def _sizes(tune: TuneRecipe, rows: Lengths, machine: Machine) -> tuple[int, ...]:
    """Sizes that make a difference, the largest first: from what holds a whole batch down to the longest row."""
    longest = max(rows.train, default=1)
    most = 2 * tune.batch_size * longest if machine.accelerator else _ENOUGH_FOR_A_PROCESSOR + 1
    return tuple(size for size in _SIZES if longest <= size < most) or (max(longest, _SIZES[-1]),)


def count_work(rows: Lengths, tune: TuneRecipe) -> Work:
    """What a run computes, from the passes of its first epoch; of many rows, told from a sample."""
    per_epoch = count_steps(len(rows.train), tune.batch_size, 1)
    steps = count_steps(len(rows.train), tune.batch_size, tune.epochs)
    lengths = _sampled(rows.train)
    batches = plan_epoch(lengths, tune.batch_size, tune.seed, 0)
    parts = _cut(batches, lengths, rows, tune)
    return Work(
        steps=steps,
        tokens=round(sum(rows.train) * steps / per_epoch),
        training=_sum(parts, rows.learned).times(steps / len(batches)),
        validation=_validation(rows, tune).times(_validations(tune, steps, per_epoch)),
        widest=max(part.places for part in parts),
    )


def _validation(rows: Lengths, tune: TuneRecipe) -> Passes:
    """One look at the held-out loss: all rows, in the order of their lengths."""
    lengths = sorted(_sampled(rows.validation))
    if not lengths:
        return Passes(0, 0, 0, 0, 0)
    parts = _cut([list(range(len(lengths)))], lengths, rows, tune)
    return _sum(parts, rows.learned).times(len(rows.validation) / len(lengths))


def _validations(tune: TuneRecipe, steps: int, per_epoch: int) -> int:
    """How often the held-out loss is measured: regularly, and at the end of the run."""
    return math.ceil(steps / (tune.validate_every or per_epoch))


@dataclass(frozen=True)
class _Part:
    """One pass: its rows, their tokens, its places with padding, and how many keys its queries have in all."""

    rows: int
    tokens: int
    places: int
    squares: int


def _cut(batches: Sequence[Sequence[int]], lengths: Sequence[int], rows: Lengths, tune: TuneRecipe) -> list[_Part]:
    tokens, packed = int(tune.micro_batch_tokens), tune.batching == "packed"
    parts = []
    for batch in batches:
        shared = min(rows.opening, *(lengths[row] - 1 for row in batch))
        for part in passes(batch, lengths, tokens, packed, shared):
            each = [lengths[row] for row in part]
            if packed:
                places, squares = sum(each), sum(length**2 for length in each)
            else:
                opening = shared if len(each) > 1 else 0
                own = len(each) * (max(each) - opening)
                places, squares = opening + own, opening**2 + own * max(each)
            parts.append(_Part(len(each), sum(each), places, squares))
    return parts


def _sum(parts: Sequence[_Part], learned: float) -> Passes:
    """Padding is computed like any token, but for the head."""
    return Passes(
        count=len(parts),
        rows=sum(part.rows for part in parts),
        places=sum(part.places for part in parts),
        squares=sum(part.squares for part in parts),
        learned=learned * sum(part.tokens for part in parts),
    )


def _sampled(lengths: Sequence[int]) -> Sequence[int]:
    return lengths if len(lengths) <= _SAMPLE else random.Random(0).sample(lengths, _SAMPLE)
