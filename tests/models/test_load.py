"""Loading: the right numbers in the right precision, nothing guessed where files do not fit, no foreign code run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from carrara.errors import Refusal
from carrara.models import Model, resolve_model
from carrara.models.load import load_model, load_tokenizer, tokenizer_in
from carrara.progress import Silent
from carrara.workspace import Workspace
from tests.export.llama import write_sentencepiece
from tests.tiny import write_tiny_adapter

CANARY = """
import pathlib
pathlib.Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM
class CanaryConfig(LlamaConfig):
    model_type = "canary-bird"
class CanaryForCausalLM(LlamaForCausalLM):
    config_class = CanaryConfig
"""


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def _change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


def _load(workspace: Workspace, folder: Path) -> Any:
    return load_model(resolve_model(workspace, str(folder), Silent()), "float32").network


def _refusal(workspace: Workspace, folder: Path) -> str:
    with pytest.raises(Refusal) as refused:
        _load(workspace, folder)
    return str(refused.value)


@pytest.mark.parametrize("with_adapter", [False, True], ids=["base", "adapter"])
def test_rotary_frequencies_stay_in_float32(
    workspace: Workspace, tiny_folder: Path, tmp_path: Path, with_adapter: bool
) -> None:
    place = write_tiny_adapter(tiny_folder, tmp_path / "adapter") if with_adapter else tiny_folder
    loaded = load_model(resolve_model(workspace, str(place), Silent()), "bfloat16")
    assert {parameter.dtype for parameter in loaded.network.parameters()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
    frequencies = [buffer for name, buffer in loaded.network.named_buffers() if name.endswith("inv_freq")]
    exact = 1.0 / 10000.0 ** (torch.arange(0, 8, 2, dtype=torch.float32) / 8)
    assert frequencies
    for found in frequencies:
        assert found.dtype == torch.float32
        assert torch.allclose(found, exact, rtol=1e-6)


def test_what_is_loaded_is_what_is_stored(workspace: Workspace, tiny_folder: Path) -> None:
    network = _load(workspace, tiny_folder)
    stored = load_file(tiny_folder / "model.safetensors")
    for name, value in stored.items():
        assert torch.equal(network.state_dict()[name], value)
    assert torch.equal(network.get_output_embeddings().weight, stored["model.embed_tokens.weight"])


@pytest.mark.parametrize("damage", ["missing", "renamed", "smaller"])
def test_missing_weights_are_never_filled_in(workspace: Workspace, folder: Path, damage: str) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    value = weights.pop(name)
    if damage == "renamed":
        weights["model.layers.7.mlp.up_proj.weight"] = value
    elif damage == "smaller":
        weights[name] = value[:8].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    sentence = _refusal(workspace, folder)
    assert name in sentence
    assert len(sentence.splitlines()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": "nonsense", "architectures": ["Nonsense"]},
        {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]},
        {"hidden_size": "large"},
        {"num_attention_heads": 5},
        {"num_attention_heads": 0},
        {"vocab_size": None},
        {"rope_parameters": {"rope_type": "unheard-of"}},
        {"hidden_act": "unheard-of"},
    ],
    ids=lambda fields: "-".join(map(str, next(iter(fields.items())))),
)
def test_a_configuration_that_is_no_such_model_is_refused(
    workspace: Workspace, folder: Path, fields: dict[str, Any]
) -> None:
    _change(folder / "config.json", **fields)
    sentence = _refusal(workspace, folder)
    assert "cannot be loaded" in sentence
    assert len(sentence.splitlines()) == 1


def test_a_text_that_is_too_long_makes_no_noise(tiny_model: Model, capfd: pytest.CaptureFixture[str]) -> None:
    tokenizer = load_tokenizer(tiny_model)
    assert len(tokenizer.encode("a b " * 1000)) > tokenizer.model_max_length
    assert capfd.readouterr() == ("", "")


def _kept(tokenizer: Any) -> dict[str, Any]:
    texts = ["", "a", " a", "two  words\n", "hello <s>wörld", "<|im_start|>user\nHi<|im_end|>", "\N{CAT FACE}"]
    return {
        "class": type(tokenizer).__name__,
        "ids": [tokenizer(text)["input_ids"] for text in texts],
        "bare": [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts],
        "back": [tokenizer.decode(tokenizer(text)["input_ids"]) for text in texts],
        "special": tokenizer.special_tokens_map,
        "added": {number: repr(token) for number, token in tokenizer.added_tokens_decoder.items()},
        "template": tokenizer.chat_template,
        "length": (len(tokenizer), tokenizer.model_max_length),
    }


@pytest.mark.parametrize("name", ["PreTrainedTokenizerFast", "TokenizersBackend", "LlamaTokenizerFast", None])
@pytest.mark.parametrize("kind", ["llama", "mistral"])
@pytest.mark.parametrize("sentencepiece", [False, True])
def test_a_tokenizer_is_the_one_that_transformers_would_choose(
    folder: Path, name: str | None, kind: str, sentencepiece: bool
) -> None:
    from transformers import AutoTokenizer

    if sentencepiece:
        write_sentencepiece(folder, True)
    _change(folder / "tokenizer_config.json", tokenizer_class=name)
    _change(folder / "config.json", model_type=kind)
    chosen = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert _kept(tokenizer_in(folder)) == _kept(chosen)


def test_the_embedded_models_tokenizer_is_the_one_that_transformers_would_choose(smollm: Model) -> None:
    from transformers import AutoTokenizer

    assert _kept(load_tokenizer(smollm)) == _kept(AutoTokenizer.from_pretrained(smollm.path, local_files_only=True))


def test_a_plain_tokenizer_is_there_without_torch(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from carrara.models.load import tokenizer_in; "
        "print(len(tokenizer_in(Path(sys.argv[1]))), 'torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["259", "False"]


def test_a_damaged_tokenizer_is_refused(workspace: Workspace, folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"', encoding="utf-8")
    model = resolve_model(workspace, str(folder), Silent())
    with pytest.raises(Refusal, match="tokenizer cannot be loaded"):
        load_tokenizer(model)


# ---- adapters ----


@pytest.mark.parametrize(
    "options",
    [{}, {"use_dora": True}, {"target_modules": "all-linear"}, {"modules_to_save": ["norm"]}, {"use_rslora": True}],
    ids=["lora", "dora", "all-linear", "modules-to-save", "rslora"],
)
def test_an_adapter_of_peft_loads(
    workspace: Workspace, tiny_folder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    place = write_tiny_adapter(tiny_folder, tmp_path / "adapter", **options)
    ids = torch.tensor([[5, 6, 7, 8]])
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    with torch.no_grad():
        plain = base(ids).logits
        expected = PeftModel.from_pretrained(base, place).eval()(ids).logits
        found = _load(workspace, place)(ids).logits
    assert torch.equal(found, expected)
    assert not torch.allclose(found, plain, atol=1e-3)


@pytest.mark.parametrize(
    "other", [{"layers": 1}, {"layers": 3}, {"width": 64}], ids=["fewer layers", "more layers", "wider"]
)
def test_an_adapter_of_another_model_is_refused(
    workspace: Workspace, tiny_folder: Path, tmp_path: Path, other: dict[str, int]
) -> None:
    place = write_tiny_adapter(tiny_folder, tmp_path / "adapter", **other)
    sentence = _refusal(workspace, place)
    assert f"the adapter {place} does not fit" in sentence
    assert len(sentence.splitlines()) == 1


def test_an_adapter_for_layers_that_do_not_exist_is_refused(
    workspace: Workspace, tiny_folder: Path, tmp_path: Path
) -> None:
    place = write_tiny_adapter(tiny_folder, tmp_path / "adapter")
    _change(place / "adapter_config.json", target_modules=["query_key_value"])
    assert "does not fit" in _refusal(workspace, place)


@pytest.mark.parametrize("base", [None, "", 7, "no-such-folder-or-model", "x" * 5000])
def test_an_adapter_that_names_no_base_is_refused(
    workspace: Workspace, tiny_folder: Path, tmp_path: Path, base: Any
) -> None:
    place = write_tiny_adapter(tiny_folder, tmp_path / "adapter")
    _change(place / "adapter_config.json", base_model_name_or_path=base)
    with pytest.raises(Refusal):
        resolve_model(workspace, str(place), Silent())


def test_a_pickled_adapter_is_refused(workspace: Workspace, tiny_folder: Path, tmp_path: Path) -> None:
    place = write_tiny_adapter(tiny_folder, tmp_path / "adapter")
    (place / "adapter_model.safetensors").rename(place / "adapter_model.bin")
    with pytest.raises(Refusal, match=r"adapter_model\.safetensors"):
        resolve_model(workspace, str(place), Silent())


# ---- foreign code ----


def test_code_in_a_model_folder_is_never_run(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "the-canary-ran"
    (folder / "modeling_canary.py").write_text(CANARY.format(mark=str(mark)), encoding="utf-8")
    pointers = {
        "AutoConfig": "modeling_canary.CanaryConfig",
        "AutoModelForCausalLM": "modeling_canary.CanaryForCausalLM",
        "AutoTokenizer": ["modeling_canary.CanaryTokenizer", None],
    }
    _change(folder / "config.json", auto_map=pointers)
    _change(folder / "tokenizer_config.json", auto_map=pointers)
    network = _load(workspace, folder)
    assert type(network).__name__ == "LlamaForCausalLM"
    assert not mark.exists()
    _change(folder / "config.json", model_type="canary-bird")
    assert "cannot be loaded" in _refusal(workspace, folder)
    assert not mark.exists()


def test_the_model_of_a_workspace_holds_no_code(workspace: Workspace, folder: Path) -> None:
    (folder / "modeling_canary.py").write_text("raise SystemExit", encoding="utf-8")
    model: Model = resolve_model(workspace, str(folder), Silent())
    assert not [path for path in model.path.rglob("*") if path.suffix in (".py", ".pyc", ".bin", ".pkl")]


def test_weights_are_read_as_stored_whatever_the_configuration_says(workspace: Workspace, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16", "torch_dtype": "bfloat16"}))
    stored = load_file(folder / "model.safetensors")
    loaded = load_model(resolve_model(workspace, str(folder), Silent()), "float32")
    name = "model.layers.0.mlp.up_proj.weight"
    assert stored[name].dtype == torch.float32
    assert not torch.equal(stored[name], stored[name].bfloat16().float())
    assert torch.equal(loaded.network.get_parameter(name), stored[name])
