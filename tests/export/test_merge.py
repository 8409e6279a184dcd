"""Merging: the merged folder computes what the base with its adapter computes, in the base's own number format."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, PrefixTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaForCausalLM

from carrara.errors import Refusal
from carrara.export.merge import merge
from carrara.models import Model, resolve_model
from carrara.models.load import load_model
from carrara.progress import Silent
from carrara.workspace import Workspace
from tests.tiny import write_tiny_adapter, write_tiny_model

IDS = torch.tensor([[5, 60, 7, 180, 9, 33, 3, 4]])
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"target_modules": "all-linear", "r": 4},
    "rslora": {"r": 4, "lora_alpha": 4, "use_rslora": True},
    "dora": {"target_modules": ["q_proj", "down_proj"], "use_dora": True},
    "tokens": {"trainable_token_indices": [3, 7, 33]},
    "modules": {"modules_to_save": ["norm"]},
}


def _adapted(workspace: Workspace, folder: Path, place: Path, **options: Any) -> Model:
    return resolve_model(workspace, str(write_tiny_adapter(folder, place, **options)), Silent())


def _logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        return network(IDS).logits


def _merged(model: Model, folder: Path) -> dict[str, torch.Tensor]:
    folder.mkdir()
    merge(model, folder)
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", KINDS)
def test_the_merged_model_computes_the_same(workspace: Workspace, tmp_path: Path, kind: str) -> None:
    base = write_tiny_model(tmp_path / "base")
    adapter = write_tiny_adapter(base, tmp_path / "adapter", **KINDS[kind])
    _move(adapter, {"tokens": "trainable_tokens_delta", "modules": "model.norm"}.get(kind, "lora_"))
    model = resolve_model(workspace, str(adapter), Silent())
    expected = _logits(load_model(model, "float32").network)
    _merged(model, tmp_path / "merged")
    network = LlamaForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert (_logits(network) - expected).abs().max() < 1e-5
    alone = _logits(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32))
    assert (expected - alone).abs().max() > 0.01
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(base).chat_template


def _move(adapter: Path, part: str) -> None:
    """Let what an adapter learned of this part differ from what it began with."""
    path = adapter / "adapter_model.safetensors"
    weights = load_file(path)
    names = [name for name in weights if part in name]
    assert names
    weights |= {name: weights[name] + 0.3 * torch.randn_like(weights[name]) for name in names}
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_weights_are_summed_in_float32_and_rounded_once(
    workspace: Workspace, tmp_path: Path, stored: torch.dtype
) -> None:
    base = write_tiny_model(tmp_path / "base")
    LlamaForCausalLM.from_pretrained(base, dtype=stored).save_pretrained(base)
    model = _adapted(workspace, base, tmp_path / "adapter", r=4, lora_alpha=2)
    merged = _merged(model, tmp_path / "merged")
    before, pairs = load_file(base / "model.safetensors"), load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert {weight.dtype for weight in merged.values()} == {stored}
    assert merged.keys() == before.keys()
    for name, weight in merged.items():
        a = pairs.get(f"base_model.model.{name.replace('.weight', '.lora_A.weight')}")
        if a is None:
            assert torch.equal(weight, before[name])
        else:
            b = pairs[f"base_model.model.{name.replace('.weight', '.lora_B.weight')}"]
            assert torch.equal(weight, (before[name].float() + 0.5 * (b @ a)).to(stored))
            assert not torch.equal(weight, before[name])
    assert json.loads((tmp_path / "merged/config.json").read_text())["dtype"] == str(stored).removeprefix("torch.")


def test_dora_of_a_base_in_sixteen_bits_is_computed_in_float32(workspace: Workspace, tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    LlamaForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    model = _adapted(workspace, base, tmp_path / "adapter", target_modules=["q_proj"], use_dora=True)
    merged, before = _merged(model, tmp_path / "merged"), load_file(base / "model.safetensors")
    pairs = load_file(tmp_path / "adapter/adapter_model.safetensors")
    name = "model.layers.1.self_attn.q_proj"
    a, b, magnitude = (pairs[f"base_model.model.{name}.{part}"] for part in (
        "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"))  # fmt: skip
    changed = before[f"{name}.weight"].float() + 4 * (b @ a)
    expected = (changed * (magnitude / changed.norm(dim=1))[:, None]).bfloat16()
    assert (merged[f"{name}.weight"] == expected).float().mean() > 0.99  # but for sums on the border of two numbers


def test_factors_are_merged(workspace: Workspace, tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    network = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM")
    _save(get_peft_model(network, config), base, tmp_path / "adapter")
    _move(tmp_path / "adapter", "ia3_l")
    model = resolve_model(workspace, str(tmp_path / "adapter"), Silent())
    expected = _logits(load_model(model, "float32").network)
    _merged(model, tmp_path / "merged")
    found = _logits(LlamaForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32))
    assert (found - expected).abs().max() < 1e-5
    assert (expected - _logits(LlamaForCausalLM.from_pretrained(base, dtype=torch.float32))).abs().max() > 0.01


def _save(network: Any, base: Path, target: Path) -> None:
    network.peft_config["default"].base_model_name_or_path = str(base)
    network.save_pretrained(str(target), save_embedding_layers=False)


def test_rows_of_new_tokens_are_merged(workspace: Workspace, tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<|tool|>"], special_tokens=True)
    network = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    network.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    new = len(tokenizer) - 1
    tuned = get_peft_model(network, _lora(trainable_token_indices={"embed_tokens": [new]}))
    _save(tuned, base, tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    _move(tmp_path / "adapter", "trainable_tokens_delta")
    merged = _merged(resolve_model(workspace, str(tmp_path / "adapter"), Silent()), tmp_path / "merged")
    before = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    rows = merged["model.embed_tokens.weight"]
    assert len(rows) == len(before) + 1 == json.loads((tmp_path / "merged/config.json").read_text())["vocab_size"]
    assert torch.equal(rows[:-1], before)
    assert rows[-1].abs().max() > 0
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")("<|tool|>").input_ids == [new]


def _lora(**options: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], init_lora_weights=False, **options)


def test_a_model_without_an_adapter_is_copied(tiny_model: Model, tmp_path: Path) -> None:
    _merged(tiny_model, tmp_path / "merged")
    for path in (tmp_path / "merged").iterdir():
        assert path.read_bytes() == (tiny_model.path / path.name).read_bytes()
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"}
    assert "artefact.json" not in names


# ---- what is refused ----


def _refusal(model: Model, folder: Path) -> str:
    with pytest.raises(Refusal) as refused:
        _merged(model, folder)
    return str(refused.value)


def test_what_cannot_be_merged_is_refused_with_the_way_out(
    workspace: Workspace, tiny_model: Model, tmp_path: Path
) -> None:
    adapted = _adapted(workspace, tiny_model.path, tmp_path / "adapter")
    assert "base in 4 bits" in _refusal(replace(adapted, four_bit=True), tmp_path / "a")
    network = LlamaForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    prefix = get_peft_model(network, PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    _save(prefix, tiny_model.path, tmp_path / "prefix")
    model = resolve_model(workspace, str(tmp_path / "prefix"), Silent())
    assert "PREFIX_TUNING, which is not written into weights" in _refusal(model, tmp_path / "b")
    head = _adapted(workspace, tiny_model.path, tmp_path / "head", target_modules=["lm_head"])
    assert "lm_head, which embedding and head share" in _refusal(head, tmp_path / "c")


def test_an_adapter_of_another_base_is_refused_by_name(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    wide = _adapted(workspace, tiny_model.path, tmp_path / "wide", width=64)
    assert "wide does not fit" in _refusal(wide, tmp_path / "a")
