"""Set-ups with nothing wrong that look as if there were: the truth check leaves them alone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.data.prepare.stage import prepare_dataset
from carrara.data.render.template import chat_template
from carrara.models import resolve_model
from carrara.progress import Silent
from carrara.recipe import make_recipe
from carrara.tune import fused
from carrara.tune.rehearsal import rehearse
from carrara.tune.training import Training
from carrara.tune.truth import check_truth, passes, subject
from carrara.tune.truth.gradients import short_rows
from carrara.workspace import Workspace
from tests.faults.ground import SetUp, build, healthy, judge, write_model
from tests.faults.rows import Row
from tests.faults.templates import KITS

_KIT = {kit.name: kit for kit in KITS}
_THOUGHT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if loop.last and message['role'] == 'assistant' %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def _set_up(kit: str = "ChatML", shape: str = "pairs", **tune: Any) -> SetUp:
    return healthy(_KIT[kit], random.Random(5), shape, **tune)


def _found(setup: SetUp, folder: Path) -> str | None:
    outcome = judge(setup, folder)
    return outcome.by and outcome.sentence


@pytest.mark.parametrize("kit", ["ChatML", "Zephyr", "Llama 3.2"])  # without BOS in front, and with one
def test_documents(kit: str, tmp_path: Path) -> None:
    setup = _set_up(kit, "documents")
    setup.tokens.template += "{% if false %}{{ strftime_now('%Y') }}{% endif %}"
    assert _found(setup, tmp_path) is None


def test_answers_quoted_from_their_prompts(tmp_path: Path) -> None:
    setup = _set_up(shape="quotes")
    assert min(len(row["completion"]) for row in setup.rows) >= 24
    assert _found(setup, tmp_path) is None


@pytest.mark.parametrize("label", ["none", "null", "n/a", "?", "-"])
def test_a_word_for_nothing_among_labels(label: str, tmp_path: Path) -> None:
    setup = _set_up()
    for number, row in enumerate(setup.rows):
        row["completion"] = (label, "spam", "invoice")[number % 3]
    assert _found(setup, tmp_path) is None


@pytest.mark.parametrize("label", ["NaN", "undefined"])
def test_what_only_programs_write_is_no_label(label: str, tmp_path: Path) -> None:
    setup = _set_up()
    for number, row in enumerate(setup.rows):
        row["completion"] = (label, "spam", "invoice")[number % 3]
    assert "stand for a missing value" in str(_found(setup, tmp_path))


def test_a_rare_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "_ROWS", 10)
    setup = _set_up(shape="short")
    for number, row in enumerate(setup.rows):
        row["completion"] = "positive" if number == 7 else "negative"
    loaded, dataset, training = build(setup, tmp_path)
    looked_at = subject.look_at(loaded, dataset, training).pairs
    assert {pair.example.answer for pair in looked_at} == {"negative"}
    assert len(looked_at) == 10
    assert check_truth(loaded, dataset, training, ()).findings == ()


def test_a_template_that_asks_for_the_day_is_told_the_same_each_day(tmp_path: Path) -> None:
    setup = _set_up()
    day = "  {{ strftime_now('%d %b %Y, %H:%M') if strftime_now is defined and date_string is not defined }}"
    setup.tokens.template = day + setup.tokens.template
    loaded, dataset, training = build(setup, tmp_path)
    text = chat_template(loaded.tokenizer).text([{"role": "user", "content": "a"}], (), answer=False)
    assert text == "  26 Jul 2024, 00:00<|im_start|>user\na<|im_end|>\n"
    assert check_truth(loaded, dataset, training, ()).findings == ()


def test_a_gradient_in_few_rows_of_an_embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "_KEPT", 1)  # the first weight of each, which belongs to a token that no row has
    loaded, dataset, training = build(_set_up(method="full"), tmp_path)
    seen = passes.step_pass(training, short_rows(training.rows), 512, packed=False)
    places = [each for name, each in seen.gradient.items() if "embed_tokens" in name]
    training.network.zero_grad(set_to_none=True)
    assert places
    assert len(seen.moved) == len(seen.gradient)
    assert check_truth(loaded, dataset, training, ()).findings == ()


def _large_adapter(training: Training) -> None:
    generator = torch.Generator().manual_seed(3)
    for name, parameter in training.optimizer.parameters.items():
        noise = torch.randn(parameter.shape, generator=generator) * (2.0 if "lora_B" in name else 0.5)
        training.optimizer.masters[name].copy_(noise)
        parameter.data.copy_(noise)


def _bfloat16(training: Training) -> tuple[passes.Pass, passes.Pass]:
    rows = short_rows(training.rows)
    with passes.untouched(training):
        return passes.plain_pass(training, rows), passes.step_pass(training, rows, 1, packed=False)


def test_rounding_of_a_large_adapter(tmp_path: Path) -> None:
    loaded, dataset, training = build(_set_up(dtype="bfloat16"), tmp_path)
    _large_adapter(training)
    plain, found = _bfloat16(training)
    assert not found.agrees(plain, torch.bfloat16)
    weights = {name: each.detach().clone() for name, each in training.network.named_parameters()}
    truth = check_truth(loaded, dataset, training, ())
    assert {finding.check for finding in truth.findings} <= {"fresh-adapter"}
    assert all(torch.equal(each, weights[name]) for name, each in training.network.named_parameters())
    assert {each.dtype for each in training.network.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("tune", [{"method": "prompt"}, {"method": "ia3"}])
def test_weight_decay_where_nothing_decays(tune: dict[str, Any], tmp_path: Path) -> None:
    assert _found(_set_up(**tune, weight_decay=1000.0), tmp_path) is None


def test_an_empty_thought_before_the_answer(tmp_path: Path) -> None:
    setup = _set_up()
    setup.tokens.template = _THOUGHT
    for row in setup.rows[::3]:  # as some are that bring a thought of their own
        row["completion"] = f"<think>\n{row['prompt']}\n</think>\n\n{row['completion']}"
    setup.tokens.template = setup.tokens.template.replace("loop.last and", "'</think>' not in message['content'] and")
    assert _found(setup, tmp_path) is None


def test_a_thought_that_differs_is_not_the_template_s_own(tmp_path: Path) -> None:
    setup = _set_up()
    setup.tokens.template = _THOUGHT.replace("<think>\\n\\n", "<think>' + messages[0]['content'][14:20] + '")
    assert "learned is" in str(_found(setup, tmp_path))


def test_one_step_over_all_rows(tmp_path: Path) -> None:
    assert _found(_set_up(batch_size=64), tmp_path) is None


@pytest.mark.parametrize("tune", [{}, {"method": "prompt", "virtual_tokens": 4}, {"method": "prefix"}])
def test_the_plain_computation_is_the_library_s_whatever_the_settings(
    tune: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, dataset, training = build(_set_up(**tune), tmp_path)
    loaded.network.config.use_cache = training.network.config.use_cache = False

    def broken(*given: Any) -> None:
        raise AssertionError("a layer written by hand")

    rows = short_rows(training.rows)
    with passes.untouched(training), monkeypatch.context() as patch:
        patch.setattr(fused, "_project", broken)
        passes.plain_pass(training, rows)
    assert check_truth(loaded, dataset, training, ()).findings == ()


def test_an_adapter_of_another_shape_is_gone_on_with(tmp_path: Path) -> None:
    """One whose modules are named by a pattern, of unequal ranks, with a whole module beside it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    setup = _set_up()
    base = write_model(setup, tmp_path / "model")
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=r".*\.1\.self_attn\.(q|v)_proj",
        rank_pattern={"v_proj": 2},
        alpha_pattern={"v_proj": 16},
        modules_to_save=["norm"],
        task_type="CAUSAL_LM",
    )
    network = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for parameter in network.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, mean=float(parameter.dim() == 1), std=0.05)
    adapter = tmp_path / "adapter"
    network.save_pretrained(str(adapter))
    truth = _rehearsed(adapter, setup.rows, tmp_path)
    assert truth["findings"] == []
    assert truth["facts"]["trainable"] == sum(each.numel() for each in network.parameters() if each.requires_grad)


def _rehearsed(model: Path, rows: list[Row], folder: Path) -> dict[str, Any]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tune = {"batch_size": 8, "dtype": "float32"}
    recipe = make_recipe(
        {"model": str(model), "data": str(path), "prepare": {"validation": 0, "test": 0}, "tune": tune}
    )
    workspace = Workspace(folder / "workspace")
    base = resolve_model(workspace, recipe.model, Silent())
    return rehearse(base, prepare_dataset(workspace, recipe, Silent()), recipe, Silent()).to_json()
