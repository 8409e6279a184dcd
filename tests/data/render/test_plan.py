"""From lengths to work: the passes are those that training takes, and `auto` takes the most that fits."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice

import pytest

from carrara.data.render.batches import batches_from, count_steps, micro_batches
from carrara.data.render.example import Rendered
from carrara.data.render.plan import Lengths, count_work, lengths_of, plan_run
from carrara.models import read_catalogue
from carrara.models.machine import Machine
from carrara.models.plan import Plan
from carrara.models.rates import Rates
from carrara.recipe import CostRecipe, TuneRecipe

LAPTOP = Machine(8, 24 << 30, 20 << 30, None, 0, True)
GPU_24 = Machine(8, 64 << 30, 60 << 30, "a GPU", 24 << 30, True)
MODEL = read_catalogue()["smollm2-135m-instruct"]
_CHANCE = random.Random(0)
ROWS = Lengths([_CHANCE.randint(20, 400) for _ in range(300)], [50, 60, 400], 0.5)


def _recipe(**given: object) -> TuneRecipe:
    return TuneRecipe.model_validate({"batch_size": 8, "batching": "sorted", **given})


def _plan(machine: Machine = LAPTOP, rows: Lengths = ROWS, **tune: object) -> Plan:
    rates = Rates("bfloat16", 800e9, 60e9, 1e-6)
    return plan_run(MODEL.shape, MODEL.parameters, _recipe(**tune), rows, machine, rates, CostRecipe())


def test_work_is_what_the_step_loop_does() -> None:
    tune = _recipe(epochs=2)
    steps = count_steps(300, 8, 2)
    batches = batches_from(ROWS.train, 8, 0, 0)
    parts = [part for _, batch in zip(range(steps), batches) for part in micro_batches(batch, ROWS.train, 1536)]
    places = sum(len(part) * max(ROWS.train[row] for row in part) for part in parts)
    work = count_work(ROWS, tune)
    assert (work.steps, work.tokens) == (steps, 2 * sum(ROWS.train))
    assert work.training.rows == pytest.approx(600)
    assert work.training.places == pytest.approx(places, rel=0.05)  # the second epoch is taken to be like the first
    assert work.training.count == pytest.approx(len(parts), rel=0.05)
    assert work.training.learned == pytest.approx(sum(ROWS.train))
    assert work.tokens <= work.training.places
    assert work.widest <= 1536


def test_what_all_rows_begin_with_is_planned_once_a_pass() -> None:
    tune, behind = _recipe(epochs=1), replace(ROWS, opening=19)
    batches = islice(batches_from(ROWS.train, 8, 0, 0), count_steps(300, 8, 1))
    parts = [part for batch in batches for part in micro_batches(batch, ROWS.train, 1536, 19)]
    places = sum(19 * (len(part) > 1) for part in parts)
    places += sum(len(part) * (max(ROWS.train[row] for row in part) - 19 * (len(part) > 1)) for part in parts)
    work = count_work(behind, tune)
    assert work.training.places == pytest.approx(places)
    assert work.training.places < count_work(ROWS, tune).training.places
    assert (work.tokens, work.training.learned) == (sum(ROWS.train), pytest.approx(0.5 * sum(ROWS.train)))
    packed = _recipe(batching="packed")
    assert count_work(behind, packed) == count_work(ROWS, packed)


def test_a_row_without_the_common_opening_does_not_hide_it_from_the_plan() -> None:
    rows = [Rendered((*range(30), 100 + row), (False,) * 30 + (True,), row, "") for row in range(40)]
    odd = Rendered((7, 8), (False, True), 40, "")
    assert lengths_of([*rows, odd], [], shares=True).opening == 30
    assert lengths_of([*rows, odd], []).opening == 0
    assert count_work(lengths_of([*rows, odd], [], shares=True), _recipe(epochs=1)).training.places < 600


def test_packing_has_no_padding_and_no_attention_between_rows() -> None:
    work = count_work(ROWS, _recipe(batching="packed", epochs=1))
    assert work.training.places == sum(ROWS.train)
    assert work.training.squares == sum(length**2 for length in ROWS.train)


def test_validations_are_counted() -> None:
    once = count_work(ROWS, _recipe()).validation
    assert once.rows == 3
    assert count_work(ROWS, _recipe(epochs=3)).validation.rows == 9
    assert count_work(ROWS, _recipe(validate_every=19)).validation.rows == 6  # after steps 19 and 38
    assert count_work(replace(ROWS, validation=()), _recipe()).validation.places == 0


def test_a_long_row_is_a_pass_of_its_own() -> None:
    assert count_work(Lengths([3000, *ROWS.train]), _recipe()).widest == 3000


def test_many_rows_are_told_from_a_sample() -> None:
    many = Lengths([*ROWS.train] * 300)
    few = count_work(ROWS, _recipe()).training
    assert count_work(many, _recipe()).training.places == pytest.approx(300 * few.places, rel=0.05)


def test_auto_takes_the_most_that_fits_and_leaves_the_batch() -> None:
    enough = _plan(micro_batch_tokens="auto")
    assert (enough.micro_batch_tokens, enough.checkpoint_activations, enough.batching) == (1536, False, "sorted")
    little = _plan(replace(LAPTOP, memory_free=int(enough.memory.high) - 1), micro_batch_tokens="auto")
    assert little.micro_batch_tokens == 1024
    assert little.memory.likely < enough.memory.likely
    assert (little.steps, little.tokens) == (enough.steps, enough.tokens)
    on_gpu = _plan(GPU_24, micro_batch_tokens="auto", batching="auto")
    assert on_gpu.batching == "packed"
    assert on_gpu.micro_batch_tokens == 4096  # a whole batch of the longest rows


def test_activations_are_computed_again_only_where_memory_does_not_suffice() -> None:
    kept = _plan()
    assert not kept.checkpoint_activations
    little = replace(LAPTOP, memory_free=int(kept.memory.high) - 1)
    assert _plan(little).checkpoint_activations
    assert _plan(little).memory.likely < kept.memory.likely
    assert not _plan(little, checkpoint_activations=False).checkpoint_activations
    assert _plan(checkpoint_activations=True).checkpoint_activations


def test_a_machine_that_is_too_small_gets_the_leanest_plan_and_a_reason() -> None:
    plan = _plan(replace(LAPTOP, memory_free=10**8), micro_batch_tokens="auto")
    assert not plan.fits
    assert "GB more" in plan.reason
    assert plan.checkpoint_activations
    assert plan.micro_batch_tokens == 512  # no less than the longest row
