"""The planner: every figure lies within its interval, what needs more is said to need more, and JSON gives it back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from carrara.models import CatalogueModel, read_catalogue
from carrara.models.estimate import Passes, Work, trained_parameters
from carrara.models.four_bit import import_bitsandbytes
from carrara.models.machine import Machine
from carrara.models.plan import Plan, plan_from_json, plan_work
from carrara.models.rates import Rates
from carrara.models.shape import shape_in, shape_of
from carrara.progress import Silent
from carrara.recipe import CostRecipe, TuneRecipe
from carrara.workspace import Workspace

LAPTOP = Machine(8, 24 << 30, 20 << 30, None, 0, True)
GPU_24 = Machine(8, 64 << 30, 60 << 30, "a GPU", 24 << 30, True)
RATES = Rates("bfloat16", 800e9, 60e9, 1e-6)
METHODS = ("full", "lora", "qlora", "ia3", "prefix", "prompt")
EACH = pytest.mark.parametrize("entry", list(read_catalogue().values()), ids=lambda entry: entry.name)
SMALL = read_catalogue()["smollm2-135m-instruct"]


def _work(tokens: int = 4096, passes: int = 100, rows: int = 16) -> Work:
    places = passes * tokens
    training = Passes(passes, passes * rows, places, places * tokens / rows, places / 2)
    return Work(passes, places, training, training.times(0.05), tokens)


def _plan(
    entry: CatalogueModel = SMALL,
    machine: Machine = LAPTOP,
    work: Work | None = None,
    rates: Rates = RATES,
    cost: CostRecipe | None = None,
    **tune: object,
) -> Plan:
    settled = {"micro_batch_tokens": 4096, "checkpoint_activations": False, "batching": "sorted"}
    recipe = TuneRecipe.model_validate(settled | tune)
    return plan_work(entry.shape, entry.parameters, recipe, work or _work(), machine, rates, cost or CostRecipe())


@EACH
def test_every_figure_has_an_interval_that_holds_what_is_likely(entry: CatalogueModel) -> None:
    for machine in (LAPTOP, GPU_24):
        for method in METHODS:
            plan = _plan(entry, machine, method=method)
            for figure in (plan.memory, plan.seconds, plan.energy_wh, plan.money):
                assert 0 < figure.low < figure.likely < figure.high
            assert sum(plan.parts.values()) == pytest.approx(plan.memory.likely, rel=1e-6)


@EACH
def test_full_needs_more_memory_than_lora_and_lora_more_than_qlora(entry: CatalogueModel) -> None:
    full, lora, qlora = (_plan(entry, GPU_24, method=method).memory.likely for method in METHODS[:3])
    assert full > lora > qlora
    assert _plan(entry, method="full").seconds.likely > _plan(entry, method="lora").seconds.likely


@EACH
def test_what_is_more_takes_more(entry: CatalogueModel) -> None:
    sizes = [_plan(entry, work=_work(tokens)) for tokens in (16, 64, 1024, 4096, 32768)]
    ranks = [_plan(entry, rank=rank) for rank in (1, 8, 64)]
    for plans in (sizes, ranks):
        for figures in ([plan.memory.likely for plan in plans], [plan.seconds.likely for plan in plans]):
            assert figures == sorted(set(figures))
    again = _plan(entry, checkpoint_activations=True)
    assert again.memory.likely < _plan(entry).memory.likely
    assert again.seconds.likely > _plan(entry).seconds.likely


def test_seconds_follow_the_work_and_the_machine() -> None:
    once = _plan().seconds.likely
    assert _plan(work=_work(passes=300)).seconds.likely == pytest.approx(3 * once)
    half = replace(RATES, products=400e9, memory=30e9, call=2e-6)
    assert _plan(rates=half).seconds.likely == pytest.approx(2 * once)
    assert _plan(work=replace(_work(), validation=Passes(0, 0, 0, 0, 0))).seconds.likely < once


def test_long_rows_take_longer_than_as_many_tokens_in_short_ones() -> None:
    assert _plan(work=_work(rows=1)).seconds.likely > _plan(work=_work(rows=64)).seconds.likely


def test_prices_and_watts_are_the_recipe_s() -> None:
    plan = _plan(cost=CostRecipe(per_hour=3.6, per_kwh=0.5, currency="CHF", watts=1000))
    hours = plan.seconds.likely / 3600
    assert plan.energy_wh.likely == pytest.approx(1000 * hours)
    assert plan.money.likely == pytest.approx(3.6 * hours + 0.5 * hours)
    assert plan.currency == "CHF"
    assert "1000 W from the recipe" in plan.basis


def test_power_is_measured_where_counters_are_shown_and_says_when_it_is_assumed() -> None:
    assert "96 W assumed" in _plan().basis
    measured = _plan(rates=replace(RATES, watts=31.0))
    assert "31 W measured just now" in measured.basis
    spread = [plan.energy_wh.high / plan.energy_wh.low for plan in (_plan(), measured)]
    assert spread[1] < spread[0]
    assert "496 W assumed" in _plan(machine=GPU_24, rates=replace(RATES, watts=31.0)).basis


def test_70b_does_not_fit_24_gb_and_a_small_model_does() -> None:
    large = [entry for entry in read_catalogue().values() if entry.parameters > 65e9]
    assert large
    for entry in large:
        for method in METHODS:
            plan = _plan(entry, GPU_24, method=method)
            assert not plan.fits
            assert "GB more" in plan.reason
    assert all(_plan(machine=GPU_24, method=method).fits for method in METHODS)


def test_what_fits_is_what_the_accelerator_or_the_free_memory_holds() -> None:
    needed = int(_plan().memory.likely) + 1
    assert _plan(machine=replace(LAPTOP, memory_free=needed)).fits
    assert not _plan(machine=replace(LAPTOP, memory_free=needed - 2)).fits
    assert not _plan(machine=replace(GPU_24, accelerator_memory=int(1e8))).fits


def test_a_machine_without_bfloat16_needs_twice_as_much_for_weights() -> None:
    in_float32 = _plan(rates=replace(RATES, dtype="float32"))
    assert in_float32.parts["weights"] == pytest.approx(2 * _plan().parts["weights"], rel=1e-6)


def test_json_gives_the_plan_back() -> None:
    plan = _plan()
    assert plan_from_json(plan.to_json()) == plan
    assert plan.to_json()["fits"]


def test_parameters_that_learn_are_those_of_peft() -> None:
    import_bitsandbytes()
    from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip
    shape = SMALL.shape.model_copy(
        update={"layers": 2, "width": 32, "heads": 4, "kv_heads": 2, "head_width": 8, "feed_forward": 48}
    )
    linears, causal, ia3 = list(shape.linears()), "CAUSAL_LM", ["k_proj", "v_proj", "down_proj"]
    for recipe, peft in (
        (TuneRecipe(rank=3), LoraConfig(r=3, target_modules="all-linear", task_type="CAUSAL_LM")),
        (TuneRecipe(rank=3, dora=True), LoraConfig(r=3, use_dora=True, target_modules=linears)),
        (TuneRecipe(rank=2, targets=("q_proj",)), LoraConfig(r=2, target_modules=["q_proj"])),
        (TuneRecipe(method="ia3"), IA3Config(target_modules=ia3, feedforward_modules=["down_proj"])),
        (TuneRecipe(method="prefix", virtual_tokens=5), PrefixTuningConfig(task_type=causal, num_virtual_tokens=5)),
        (TuneRecipe(method="prompt", virtual_tokens=5), PromptTuningConfig(task_type=causal, num_virtual_tokens=5)),
    ):
        network = get_peft_model(LlamaForCausalLM(config), peft)
        learned = sum(p.numel() for p in network.parameters() if p.requires_grad)
        assert trained_parameters(shape, 10**6, recipe) == learned, recipe.method
    assert trained_parameters(shape, 10**6, TuneRecipe(method="full")) == 10**6


def test_the_shape_of_a_model_at_hand_is_read_from_its_files(workspace: Workspace, tiny_folder: Path) -> None:
    from safetensors.numpy import load_file

    shape, parameters = shape_of(workspace, str(tiny_folder), Silent())
    assert (shape.layers, shape.width, shape.heads, shape.kv_heads, shape.head_width) == (2, 32, 4, 2, 8)
    assert parameters == sum(values.size for values in load_file(tiny_folder / "model.safetensors").values())
    assert shape_in(tiny_folder) == (shape, parameters)


def test_the_shape_of_a_listed_model_needs_no_fetching(workspace: Workspace) -> None:
    shape, parameters = shape_of(workspace, "llama-2-7b", Silent())
    assert (shape.layers, parameters) == (32, 6738415616)
    assert workspace.list("model") == []
