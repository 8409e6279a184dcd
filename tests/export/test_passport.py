"""The passport names the step that broke an export, and lets through what is whole."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from carrara.errors import Refusal
from carrara.export.checks.answers import _Passage, _same, bounds_of
from carrara.export.checks.settings import check_settings
from carrara.export.checks.weights import check_weights
from carrara.export.passport import Check, Form, Passport, examine, require
from carrara.models import Model
from carrara.models.gguf import convert_gguf
from carrara.models.load import Loaded, load_model
from carrara.progress import Silent
from tests.export.planted import FAULTS, adapter_on, merged, package, rounded, write_base
from tests.models import tiny_gguf
from tests.serve.tiny import model_at
from tests.tiny import one_thread, write_tiny_adapter

CASES = [(name, form) for name, fault in FAULTS.items() for form in fault.forms]
CHECKS = [
    *("vocabulary", "named tokens", "bos", "chats", "texts", "end tokens", "configuration", "rope", "weights"),
    *("kl", "perplexity", "top-1", "greedy", "stop"),
]


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Loaded]:
    """A base, an adapter on it, and both as they were scored."""
    folder = tmp_path_factory.mktemp("ground")
    base = write_base(folder / "base")
    adapter = adapter_on(base, folder / "adapter")
    return base, adapter, _loaded(base, adapter)


def _loaded(base: Path, adapter: Path | None = None) -> Loaded:
    return load_model(model_at(base, adapter), "float32")


def _examined(scored: Loaded, exported: Loaded, form: Form = "safetensors") -> Passport:
    return examine(scored, exported, form, [], Silent())


# ---- broken ----


@pytest.fixture(scope="module")
def table() -> Iterator[list[tuple[str, str, str]]]:
    """What each fault was named, printed at the end (pytest -s)."""
    rows: list[tuple[str, str, str]] = []
    yield rows
    print(f"\n{'fault':<32}{'form':<13}named as")
    for fault, form, sentence in rows:
        print(f"{fault:<32}{form:<13}{sentence}")


@pytest.mark.parametrize(("name", "form"), CASES)
def test_a_planted_fault_is_named(
    ground: tuple[Path, Path, Loaded], table: list[tuple[str, str, str]], tmp_path: Path, name: str, form: Form
) -> None:
    base, adapter, scored = ground
    broken = package(base, adapter, tmp_path / "export", form)
    FAULTS[name].breaks(broken)
    passport = _examined(scored, broken.read(), form)
    sentence = str(passport.fault)
    table.append((name, form, sentence))
    assert not passport.holds
    assert sentence.startswith(FAULTS[name].named)
    with pytest.raises(Refusal) as refused:
        require(passport)
    assert str(refused.value) == f"the export is not the model that was scored: {sentence}"


def test_a_gguf_file_whose_rows_were_not_reordered_is_found_when_it_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_gguf.make_network()
    scored = _from_gguf(tmp_path / "scored", network, "F32")
    monkeypatch.setattr(tiny_gguf, "_permuted", lambda name, rows: rows)
    for kind, form in (("F16", "f16"), ("Q8_0", "q8_0"), ("Q4_0", "q4_0")):
        passport = _examined(scored, _from_gguf(tmp_path / kind, network, kind), form)  # type: ignore[arg-type]
        assert str(passport.fault).startswith("the rows of queries and keys are in the wrong order for rope, in ")


def test_an_adapter_as_it_is_keeps_its_scale_and_its_base(tmp_path: Path) -> None:
    base, another = write_base(tmp_path / "base"), write_base(tmp_path / "another", seed=5)
    adapter = adapter_on(base, tmp_path / "adapter", use_rslora=True)
    scored = _loaded(base, adapter)
    whole = _examined(scored, _loaded(base, adapter), "adapter")
    assert whole.fault is None
    assert {check.name: check.value for check in whole.checks if check.name in ("weights", "kl")} == {
        "weights": 0.0,
        "kl": 0.0,
    }
    assert "another model was exported" in str(_examined(_loaded(base), _loaded(another)).fault)
    assert "merged into another base" in str(_examined(scored, _loaded(another, adapter), "adapter").fault)
    config = adapter / "adapter_config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"use_rslora": true', '"use_rslora": false'))
    fault = str(_examined(scored, _loaded(base, adapter), "adapter").fault)
    assert fault.startswith("the adapter was merged at 0.5 times its scale")  # of rank 4: alpha / 4, not / 2


def test_learned_tokens_in_front_are_compared(tmp_path: Path) -> None:
    from peft import PromptTuningConfig, get_peft_model
    from transformers import LlamaForCausalLM

    base = write_base(tmp_path / "base")
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = get_peft_model(
            LlamaForCausalLM.from_pretrained(base), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
        )
        network.save_pretrained(str(tmp_path / f"prompt{seed}"))
    first, second = (_loaded(base, tmp_path / f"prompt{seed}") for seed in (1, 2))
    assert _examined(first, first, "adapter").fault is None
    assert "weights were changed: virtual tokens" in str(_examined(first, second, "adapter").fault)


def test_behind_right_weights_the_answers_are_judged_and_what_the_caller_measured(
    ground: tuple[Path, Path, Loaded],
) -> None:
    base, adapter, scored = ground
    exported = _loaded(base, adapter)
    costly = Check("score", 0.2, 0.5, False, "the score on 50 questions fell from 0.5 to 0.2.")
    passport = examine(scored, exported, "adapter", ["A held-out text."], Silent(), more=[costly])
    assert passport.fault == costly.note
    assert passport.to_json()["checks"][-1] == {
        "name": "score",
        "value": 0.2,
        "bound": 0.5,
        "holds": False,
        "basis": "",
    }
    assert not passport.to_json()["holds"]
    exported.network.get_base_model().model.layers[0].self_attn.scaling *= 2  # which no weight or setting shows
    passport = _examined(scored, exported, "adapter")
    assert [check.name for check in passport.checks if not check.holds][:2] == ["kl", "perplexity"]
    assert str(passport.fault).startswith("the export computes otherwise than the model that was scored: the KL")


def test_numbers_that_are_none_do_not_hold_and_are_valid_json(ground: tuple[Path, Path, Loaded]) -> None:
    base, adapter, scored = ground
    exported = _loaded(base, adapter)
    exported.network.get_base_model().model.norm.weight[3] = torch.nan
    passport = _examined(scored, exported, "adapter")
    assert str(passport.fault).startswith("weights were changed: model.norm.weight")
    broken = {check["name"]: check["value"] for check in passport.to_json()["checks"] if not check["holds"]}
    assert broken["weights"] is None
    assert broken["kl"] is None
    json.dumps(passport.to_json(), allow_nan=False)


# ---- whole ----


@pytest.mark.parametrize("form", ["safetensors", "f16", "q8_0", "q4_0"])
@pytest.mark.parametrize(
    "settings",
    [
        {"tie_word_embeddings": True, "attention_bias": False},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "kit": "SmolLM2"},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}, "kit": "Mistral"},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0}, "kit": "Gemma"},
        {"num_key_value_heads": 4, "mlp_bias": True, "kit": "Llama 2"},
    ],
    ids=["tied", "chatml", "linear", "yarn", "biases"],
)
def test_a_whole_export_holds(tmp_path: Path, settings: dict[str, Any], form: Form) -> None:
    base = write_base(tmp_path / "base", **settings)
    _require_whole(base, adapter_on(base, tmp_path / "adapter"), tmp_path / "export", form)


@pytest.mark.parametrize(
    "lora",
    [
        {"use_rslora": True},
        {"use_dora": True},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [3, 5]},
        {"bias": "all"},
    ],
    ids=["rslora", "dora", "embedding", "saved head", "tokens", "bias"],
)
@pytest.mark.parametrize("form", ["safetensors", "q4_0"])
def test_every_kind_of_lora_holds_merged(tmp_path: Path, lora: dict[str, Any], form: Form) -> None:
    base = write_base(tmp_path / "base")
    _require_whole(base, adapter_on(base, tmp_path / "adapter", **lora), tmp_path / "export", form)


@pytest.mark.parametrize("form", ["safetensors", "f16", "q8_0", "q4_0"])
def test_a_merge_in_another_order_of_sums_holds(tmp_path: Path, form: Form) -> None:
    """In doubles, rounded last: some numbers fall to the other side of a step."""
    base = write_base(tmp_path / "base", hidden_size=256, intermediate_size=512)
    adapter = write_tiny_adapter(base, tmp_path / "adapter", width=256, r=8, target_modules=["q_proj", "down_proj"])
    ready = package(base, adapter, tmp_path / "export", form)
    lora = load_file(adapter / "adapter_model.safetensors")
    for name, values in ready.base_weights().items():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in lora:
            change = lora[f"{stem}.lora_B.weight"].double() @ lora[f"{stem}.lora_A.weight"].double()
            ready.weights[name] = (values.double() + change).float()  # alpha 8, rank 8
    passport = _examined(_loaded(base, adapter), ready.read(), form)
    assert passport.fault is None
    assert next(check.value for check in passport.checks if check.name == "weights") < 0.05


@pytest.mark.parametrize("form", ["safetensors", "f16", "q8_0", "q4_0"])
def test_a_base_in_bfloat16_may_keep_its_format_with_the_adapter_in(tmp_path: Path, form: Form) -> None:
    base = write_base(tmp_path / "base")
    published = {name: values.bfloat16() for name, values in load_file(base / "model.safetensors").items()}
    save_file(published, base / "model.safetensors", metadata={"format": "pt"})
    adapter = adapter_on(base, tmp_path / "adapter")
    scored = _loaded(base, adapter)
    ready = package(base, adapter, tmp_path / "export", form)
    in_full = ready.weights
    assert _examined(scored, ready.read(), form).fault is None
    ready.weights = {name: rounded(values, "bf16") for name, values in in_full.items()}
    assert _examined(scored, ready.read(), form).fault is None
    for times, named in ((2, "the adapter was merged twice"), (0.5, "the adapter was merged at 0.5 times")):
        ready.weights = {name: rounded(values, "bf16") for name, values in ready.merged(times).items()}
        assert str(_examined(scored, ready.read(), form).fault).startswith(named)


@pytest.mark.parametrize(("kind", "form"), [("F32", "f16"), ("F16", "f16"), ("Q8_0", "q8_0"), ("Q4_0", "q4_0")])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_gguf_file_read_back_holds(tmp_path: Path, kind: str, form: Form, tied: bool) -> None:
    scored = _from_gguf(tmp_path / "scored", tiny_gguf.make_network(tied), "F32")
    adapter = write_tiny_adapter(scored.model.path, tmp_path / "adapter", target_modules="all-linear")
    network = tiny_gguf.make_network(tied)
    network.load_state_dict(merged(scored.model.path, adapter), strict=False)
    passport = _examined(_loaded(scored.model.path, adapter), _from_gguf(tmp_path / "export", network, kind), form)
    assert passport.fault is None


def test_scaled_activations_hold_merged(tmp_path: Path) -> None:
    from peft import IA3Config, get_peft_model
    from transformers import LlamaForCausalLM

    base, adapter = write_base(tmp_path / "base"), tmp_path / "adapter"
    config = IA3Config(
        task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]
    )
    network = get_peft_model(LlamaForCausalLM.from_pretrained(base), config)
    for name, parameter in network.named_parameters():
        if "ia3_" in name:
            parameter.data = 1 + 0.3 * torch.randn_like(parameter)
    network.save_pretrained(str(adapter))
    _require_whole(base, adapter, tmp_path / "export", "q8_0")
    left_out = package(base, adapter, tmp_path / "left out")
    FAULTS["no-op merge"].breaks(left_out)
    assert "the adapter is not in the export" in str(_examined(_loaded(base, adapter), left_out.read()).fault)


def test_an_adapter_that_is_switched_off_is_no_part_of_the_model(ground: tuple[Path, Path, Loaded]) -> None:
    base, _, scored = ground
    with scored.network.disable_adapter():
        assert _examined(scored, _loaded(base)).fault is None
    assert "the adapter is not in the export" in str(_examined(scored, _loaded(base)).fault)


def _from_gguf(folder: Path, network: Any, kind: str) -> Loaded:
    folder.mkdir()
    convert_gguf(tiny_gguf.write_gguf(folder.with_suffix(".gguf"), network, kind), folder)
    return _loaded(folder)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
def test_a_base_in_four_bits_is_compared_as_it_computes(tmp_path: Path, dora: bool) -> None:
    from peft.utils.integrations import dequantize_module_weight

    base = write_base(tmp_path / "base")
    adapter = adapter_on(base, tmp_path / "adapter", use_dora=dora)
    scored = load_model(replace(model_at(base, adapter), four_bit=True), "float32")
    unpacked = load_file(base / "model.safetensors")
    for name, module in scored.network.get_base_model().named_modules():
        if hasattr(module, "base_layer"):
            unpacked[f"{name}.weight"] = dequantize_module_weight(module.base_layer).detach()
    whole = package(base, adapter, tmp_path / "export")
    full = package(base, adapter, tmp_path / "full")
    save_file(unpacked, whole.folder / "model.safetensors")  # the base that was scored, in full numbers
    whole.weights = merged(whole.folder, adapter)
    passport = _examined(scored, whole.read())
    assert passport.fault is None
    assert [check.name for check in passport.checks] == CHECKS
    assert "merged" in str(_examined(scored, full.read()).fault)  # into the base in full, which was never scored


def _require_whole(base: Path, adapter: Path, folder: Path, form: Form) -> None:
    passport = _examined(_loaded(base, adapter), package(base, adapter, folder, form).read(), form)
    assert passport.fault is None
    assert [check.name for check in passport.checks] == CHECKS
    assert json.loads(json.dumps(passport.to_json(), allow_nan=False))["holds"] is True
    require(passport)


# ---- a real model ----


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_is_examined_in_seconds(smollm: Model, tmp_path: Path) -> None:
    scored = load_model(smollm, "float32")
    exported = load_model(smollm, "float32")
    with torch.no_grad():
        for parameter in exported.network.parameters():
            parameter.copy_(rounded(parameter, "q8_0"))
    began = time.process_time()
    passport = _examined(scored, exported, "q8_0")
    assert time.process_time() - began < 30  # of one core; 7 s were measured
    assert passport.fault is None
    value = {check.name: check.value for check in passport.checks}
    assert 1e-4 < value["kl"] < 0.01  # it is measured, and small
    coarse = check_weights(scored, exported, "f16")[0].note
    assert coarse.startswith("the rounding is too coarse for f16: ")
    assert coarse.endswith("went through q8_0.")
    exported.network.model.rotary_emb.inv_freq /= 8  # as a lost factor leaves it
    assert [check.name for check in check_settings(scored, exported) if not check.holds] == ["rope"]


@pytest.mark.parametrize(("ahead", "value", "word"), [(9.0, 1.0, "holds"), (0.1, None, "not compared")])
def test_choices_that_none_was_sure_of_are_not_called_the_same(ahead: float, value: float | None, word: str) -> None:
    """Of three places none is decided where the first token is ahead by less than the form's margin."""
    sides = torch.tensor([[ahead, 0.0]] * 3).log_softmax(-1)
    passage = _Passage(torch.zeros(3, dtype=torch.long), sides, sides)
    check = _same("top-1", [passage], bounds_of("q4_0", 0.1, 2), "q4_0", "a text")
    assert (check.to_json()["value"], check.word, check.holds) == (value, word, True)
    assert check.basis == f"{3 if value else 0} of 3 places"
