"""The planner: what needs more memory is said to need more, and what cannot run here is not promised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from carrara.models import CatalogueModel, read_catalogue
from carrara.models.machine import Machine
from carrara.models.plan import Plan, plan_methods
from carrara.models.shape import shape_of
from carrara.progress import Silent
from carrara.workspace import Workspace

LAPTOP = Machine(8, 24 << 30, 20 << 30, None, 0, True)
GPU_24 = Machine(8, 64 << 30, 60 << 30, "a GPU", 24 << 30, True)
EACH = pytest.mark.parametrize("entry", list(read_catalogue().values()), ids=lambda entry: entry.name)


def _plans(entry: CatalogueModel, machine: Machine = GPU_24, tokens: int = 4096, rank: int = 16) -> dict[str, Plan]:
    return {plan.method: plan for plan in plan_methods(entry.shape, entry.parameters, machine, tokens, rank)}


@EACH
def test_full_needs_more_than_lora_and_lora_more_than_qlora(entry: CatalogueModel) -> None:
    plans = _plans(entry)
    assert plans["full"].total > plans["lora"].total > plans["qlora"].total
    assert plans["full"].weights == plans["lora"].weights == 2 * entry.parameters
    # gradient, master and two moments of every parameter
    assert plans["full"].trained == 18 * entry.parameters


@EACH
def test_more_tokens_and_higher_rank_need_more(entry: CatalogueModel) -> None:
    for method in ("full", "lora", "qlora"):
        totals = [_plans(entry, tokens=tokens)[method].total for tokens in (1, 64, 1024, 4096, 32768)]
        assert totals == sorted(set(totals))
    ranks = [_plans(entry, rank=rank)["lora"].trained for rank in (1, 8, 64)]
    assert ranks == sorted(set(ranks))


@EACH
def test_qlora_is_refused_without_a_gpu(entry: CatalogueModel) -> None:
    plan = _plans(entry, LAPTOP)["qlora"]
    assert not plan.fits
    assert plan.reason == "needs an NVIDIA GPU"


def test_70b_does_not_fit_24_gb_and_a_small_model_does() -> None:
    large = [entry for entry in read_catalogue().values() if entry.parameters > 65e9]
    assert large
    for entry in large:
        for plan in _plans(entry).values():
            assert not plan.fits
            assert "GB more" in plan.reason
    small = _plans(read_catalogue()["smollm2-135m-instruct"])
    assert all(plan.fits and not plan.reason for plan in small.values())


def test_what_fits_is_what_the_accelerator_or_the_free_memory_holds() -> None:
    entry = read_catalogue()["smollm2-135m-instruct"]
    needed = _plans(entry, LAPTOP)["lora"].total
    assert _plans(entry, replace(LAPTOP, memory_free=needed))["lora"].fits
    assert not _plans(entry, replace(LAPTOP, memory_free=needed - 1))["lora"].fits
    assert not _plans(entry, replace(GPU_24, accelerator_memory=needed - 1))["lora"].fits


def test_a_machine_without_bfloat16_needs_twice_as_much_for_weights() -> None:
    entry = read_catalogue()["smollm2-135m-instruct"]
    assert _plans(entry, replace(LAPTOP, bfloat16=False))["lora"].weights == 4 * entry.parameters


def test_the_shape_of_a_model_at_hand_is_read_from_its_files(workspace: Workspace, tiny_folder: Path) -> None:
    from safetensors.numpy import load_file

    shape, parameters = shape_of(workspace, str(tiny_folder), Silent())
    assert (shape.layers, shape.width, shape.heads, shape.kv_heads, shape.head_width) == (2, 32, 4, 2, 8)
    assert parameters == sum(values.size for values in load_file(tiny_folder / "model.safetensors").values())


def test_the_shape_of_a_listed_model_needs_no_fetching(workspace: Workspace) -> None:
    shape, parameters = shape_of(workspace, "llama-2-7b", Silent())
    assert (shape.layers, parameters) == (32, 6738415616)
    assert workspace.list("model") == []
