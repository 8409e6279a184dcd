"""What cannot work or would do nothing is refused, with the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import load_model, load_tokenizer
from carrara.recipe import TuneRecipe
from carrara.tune.methods import attach, trainable
from tests.tune.methods.ground import saved, tuned


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"targets": ("query",)}, r"'query' is no linear module.* it has .*down_proj.*q_proj"),
        ({"targets": ("q_proj", "proj")}, r"'proj' is no linear module"),
        ({"targets": ("embed_tokens",)}, r"'embed_tokens' is no linear module"),
        ({"method": "ia3", "targets": ("wq",)}, r"'wq' is no linear module"),
        ({"rank": 17}, r"rank 17 is more than model\.layers\.0\.self_attn\.k_proj has \(32 x 16\); lower it to 16"),
        ({"method": "ia3", "pissa": True}, r"tune\.pissa does nothing with method ia3; leave it out.*lora"),
        ({"method": "qlora", "pissa": True}, r"tune\.pissa does nothing with method qlora"),
        ({"method": "prefix", "dora": True}, r"tune\.dora does nothing with method prefix"),
        ({"method": "full", "targets": ("q_proj",)}, r"tune\.targets does nothing with method full"),
        ({"method": "prompt", "dropout": 0.1}, r"tune\.dropout does nothing with method prompt"),
        ({"method": "ia3", "lora_plus": 4.0}, r"tune\.lora_plus does nothing with method ia3"),
        ({"virtual_tokens": 8}, r"tune\.virtual_tokens does nothing with method lora; .* prefix or prompt"),
        ({"method": "ia3", "new_tokens": ("<|a|>",)}, r"tune\.new_tokens does nothing with method ia3"),
        ({"new_tokens": ("<|a|>", " ")}, r"new_tokens holds a blank token"),
    ],
)
def test_it_is_refused(tiny_model: Model, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        attach(load_model(tiny_model, "float32"), TuneRecipe(**options))


def test_targets_are_where_the_adapters_sit(tiny_model: Model) -> None:
    recipe = TuneRecipe(targets=("q_proj", "layers.1.mlp.up_proj"), rank=2)
    learned = trainable(attach(load_model(tiny_model, "float32"), recipe))
    modules = {name.partition("layers.")[2].partition(".lora_")[0] for name in learned}
    assert modules == {"0.self_attn.q_proj", "1.self_attn.q_proj", "1.mlp.up_proj"}


# ---- new tokens ----


@pytest.mark.parametrize("method", ["lora", "full"])
def test_new_tokens_come_with_what_was_tuned(tiny_model: Model, tmp_path: Path, method: Any) -> None:
    done = tuned(tiny_model, TuneRecipe(method=method, new_tokens=("<|tool|>",), rank=2), steps=0)
    assert done.loaded.network.get_input_embeddings().weight.shape[0] == 260
    tokenizer = load_tokenizer(saved(done, tmp_path / "tuned"))
    assert len(load_tokenizer(tiny_model)) == 259
    assert tokenizer.encode("a<|tool|>b", add_special_tokens=False)[1] == 259
    assert tokenizer.chat_template == load_tokenizer(tiny_model).chat_template
    assert tokenizer.decode([259], skip_special_tokens=True) == ""
    if method == "lora":  # a row of the embedding, not the whole of it
        assert (tmp_path / "tuned" / "adapter_model.safetensors").stat().st_size < 40_000


def test_a_new_token_begins_as_the_mean_and_an_old_one_as_it_is(tiny_model: Model) -> None:
    before = load_model(tiny_model, "float32").network.get_input_embeddings().weight
    recipe = TuneRecipe(new_tokens=("<|tool|>", "<|im_start|>", "<|tool|>"), rank=2)
    learned = trainable(attach(load_model(tiny_model, "float32"), recipe))
    (rows,) = [parameter for name, parameter in learned.items() if "trainable_tokens" in name]
    assert torch.allclose(rows[0], before.mean(dim=0), atol=1e-6)
    assert torch.equal(rows[1], before[1])
    assert len(rows) == 2


def test_a_head_of_its_own_learns_new_tokens_too(tiny_model: Model) -> None:
    config = tiny_model.path / "config.json"
    untied = json.loads(config.read_text(encoding="utf-8")) | {"tie_word_embeddings": False}
    config.write_text(json.dumps(untied), encoding="utf-8")
    _add_head(tiny_model.path)
    learned = trainable(attach(load_model(tiny_model, "float32"), TuneRecipe(new_tokens=("<|tool|>",), rank=2)))
    rows = [name for name in learned if "trainable_tokens" in name]
    assert sorted("lm_head" in name for name in rows) == [False, True]


def _add_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].flip(0).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
