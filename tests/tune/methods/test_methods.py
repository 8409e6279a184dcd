"""Each method learns with its own parameters only, and is on disk what PEFT writes and reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.models import Model
from carrara.models.load import load_model
from carrara.recipe import TuneRecipe
from carrara.tune.methods import attach, decays, rate_of, trainable
from tests.tune.methods.ground import ADAPTERS, IDS, logits, saved, tuned

MARKS = {"ia3": "ia3_", "prefix": "prompt_encoder", "prompt": "prompt_encoder"}


@pytest.fixture(params=ADAPTERS.values(), ids=list(ADAPTERS))
def recipe(request: pytest.FixtureRequest) -> TuneRecipe:
    return TuneRecipe(**request.param)


def test_it_learns_and_only_its_own_parameters_change(tiny_model: Model, recipe: TuneRecipe) -> None:
    done = tuned(tiny_model, recipe, steps=0)
    learned = trainable(done.network)
    before = {name: parameter.detach().clone() for name, parameter in done.network.named_parameters()}
    after = tuned(tiny_model, recipe, steps=6)
    assert after.losses[-1] < after.losses[0] - 0.05
    assert learned
    for name, parameter in after.network.named_parameters():
        assert torch.equal(before[name], parameter) != (name in learned), name
    own = MARKS.get(recipe.method, "lora_")
    assert all(own in name or "trainable_tokens_delta" in name for name in learned)


def test_saved_it_says_the_same_in_peft_and_here(tiny_model: Model, recipe: TuneRecipe, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    done = tuned(tiny_model, recipe)
    model = saved(done, tmp_path / "adapter")
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_model.path)
    if recipe.new_tokens:
        base.resize_token_embeddings(len(done.loaded.tokenizer), mean_resizing=False)
    plain: Any = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.inference_mode():
        ours = logits(load_model(model, "float32").network)
        theirs = plain(input_ids=IDS).logits[:, -IDS.shape[1] :]
        untuned = logits(load_model(tiny_model, "float32").network)
        expected = logits(done.network)
    exact = 2e-4 if recipe.pissa else 1e-5  # PiSSA is saved as a difference
    assert (ours - expected).abs().max() < exact
    assert (theirs - ours).abs().max() < 1e-5
    assert (ours[..., : untuned.shape[-1]] - untuned).abs().max() > 0.05


# ---- adapters that plain PEFT made ----


def _plain_configs() -> dict[str, Any]:
    from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig

    common: dict[str, Any] = {"task_type": "CAUSAL_LM"}
    lora = {"r": 4, "target_modules": "all-linear", **common}
    return {
        "lora": LoraConfig(**lora),
        "rslora": LoraConfig(use_rslora=True, **lora),
        "dora": LoraConfig(use_dora=True, **lora),
        "pissa": LoraConfig(init_lora_weights="pissa", **lora),
        "tokens": LoraConfig(trainable_token_indices=[7, 9], **lora),
        "ia3": IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], **common),
        "prefix": PrefixTuningConfig(num_virtual_tokens=6, **common),
        "prompt": PromptTuningConfig(num_virtual_tokens=6, **common),
    }


@pytest.mark.parametrize("name", _plain_configs())
def test_an_adapter_that_peft_made_loads(tiny_model: Model, tmp_path: Path, name: str) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    network: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model.path), _plain_configs()[name])
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        network(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    network.eval().save_pretrained(tmp_path / "adapter")
    loaded = load_model(replace(tiny_model, adapter=tmp_path / "adapter"), "float32")
    with torch.inference_mode():
        theirs = network(input_ids=IDS).logits[:, -IDS.shape[1] :]
        assert (logits(loaded.network) - theirs).abs().max() < 1e-5


# ---- what the optimizer asks ----


def test_lora_plus_is_a_rate_of_b_alone(tiny_model: Model) -> None:
    recipe = TuneRecipe(lora_plus=16)
    rates = {name: rate_of(name, recipe) for name in trainable(attach(load_model(tiny_model, "float32"), recipe))}
    assert {rate for name, rate in rates.items() if "lora_B" in name} == {16.0}
    assert {rate for name, rate in rates.items() if "lora_B" not in name} == {1.0}


def test_only_matrices_decay(tiny_model: Model) -> None:
    for options in ADAPTERS.values():
        recipe = TuneRecipe(**options)
        learned = trainable(attach(load_model(tiny_model, "float32"), recipe))
        decayed = {name for name, parameter in learned.items() if decays(name, parameter)}
        assert decayed == {name for name in learned if ".lora_A." in name or ".lora_B." in name}
    learned = trainable(attach(load_model(tiny_model, "float32"), TuneRecipe(method="full")))
    left_out = {name.rpartition(".weight")[0].rpartition(".")[2] for name, p in learned.items() if not decays(name, p)}
    assert left_out == {"embed_tokens", "norm", "input_layernorm", "post_attention_layernorm"}
