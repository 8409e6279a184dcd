"""Writing GGUF: what is read back is what was written, and llama.cpp computes what transformers computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaForCausalLM

from carrara.errors import Refusal
from carrara.export.gguf import QUANTIZATIONS, Quantization, write_gguf, write_gguf_adapter
from carrara.export.gguf_config import hyperparameters
from carrara.models import Model
from carrara.models.gguf import LLAMA_3_KEY, convert_gguf
from tests.export.llama import IDS, Llama, farthest, greedy, make_folder, write_sentencepiece
from tests.tiny import write_tiny_adapter

LLAMA_3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA_3_SPLIT = (  # of Llama 3's own tokenizer
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    "llama3": {**LLAMA_3, "rope_theta": 10000.0, "original_max_position_embeddings": 64},
    "yarn": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64},
}


def _written(folder: Path, quantization: Quantization = "f16") -> Path:
    target = folder.parent / f"{folder.name}-{quantization}.gguf"
    write_gguf(folder, target, quantization)
    return target


def _read_back(path: Path) -> Path:
    target = path.with_suffix(".back")
    target.mkdir()
    convert_gguf(path, target)
    return target


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_weights_of_sixteen_bits_come_back_as_they_are(tmp_path: Path, tied: bool) -> None:
    folder = make_folder(tmp_path / "model", tie_word_embeddings=tied)
    back = _read_back(_written(folder))
    before, after = load_file(folder / "model.safetensors"), load_file(back / "model.safetensors")
    assert before.keys() == after.keys()
    assert ("lm_head.weight" in after) is not tied
    assert all(torch.equal(before[name], after[name]) for name in before)
    config = [json.loads((place / "config.json").read_text(encoding="utf-8")) for place in (folder, back)]
    for key in ("hidden_size", "num_key_value_heads", "rms_norm_eps", "tie_word_embeddings", "bos_token_id"):
        assert config[0][key] == config[1][key]


@pytest.mark.parametrize(
    "rope",
    [
        *ROPES.values(),
        ROPES["llama3"] | {"original_max_position_embeddings": 8192},
        ROPES["llama3"] | {"factor": 2.3, "low_freq_factor": 0.7, "high_freq_factor": 3.1},
    ],
)
def test_rope_scaling_comes_back_as_it_was(tmp_path: Path, rope: dict[str, Any]) -> None:
    folder = make_folder(tmp_path / "model", rope_parameters=rope)
    back = json.loads((_read_back(_written(folder)) / "config.json").read_text(encoding="utf-8"))
    assert back["rope_parameters"] == rope


def test_llama_3_of_others_is_read_and_numbers_that_do_not_give_the_factors_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = hyperparameters
    usual = ROPES["llama3"] | {"original_max_position_embeddings": 8192}
    folder = make_folder(tmp_path / "usual", rope_parameters=usual)
    bare = lambda config: {key: value for key, value in own(config).items() if key != LLAMA_3_KEY}  # noqa: E731
    monkeypatch.setattr("carrara.export.gguf.hyperparameters", bare)  # as other converters write it
    back = json.loads((_read_back(_written(folder)) / "config.json").read_text(encoding="utf-8"))
    assert back["rope_parameters"] == usual
    wrong = lambda config: own(config) | {LLAMA_3_KEY: [8.0, 1.0, 4.0, 4096.0]}  # noqa: E731
    monkeypatch.setattr("carrara.export.gguf.hyperparameters", wrong)
    with pytest.raises(Refusal, match="holds other factors than Llama 3's"):
        _read_back(_written(folder, "q8_0"))


def test_quantised_weights_come_back_within_their_steps(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    before = load_file(folder / "model.safetensors")
    half = 2**-11  # by which a scale is rounded
    bounds = {"q8_0": 0.5 / 127 + half, "q4_0": 1 / 8 + half}  # of the largest of 32 values
    for quantization, bound in bounds.items():
        after = load_file(_read_back(_written(folder, quantization)) / "model.safetensors")  # type: ignore[arg-type]
        for name in before:
            step = bounds["q8_0"] if name in ("model.embed_tokens.weight", "lm_head.weight") else bound
            groups = before[name].reshape(-1, 32) if before[name].dim() == 2 else before[name].reshape(1, -1)
            error = (after[name] - before[name]).reshape(groups.shape).abs().amax(1) / groups.abs().amax(1)
            assert float(error.max()) <= (step if before[name].dim() == 2 else 0), name


def test_a_matrix_that_no_block_fits_keeps_sixteen_bits(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model", intermediate_size=72)
    before = load_file(folder / "model.safetensors")
    after = load_file(_read_back(_written(folder, "q4_0")) / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    assert torch.equal(before[name], after[name])
    assert len(Llama(tmp_path / "model-q4_0.gguf").greedy(IDS, 2)[0]) == 2


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_the_same_model_gives_the_same_bytes(tmp_path: Path, quantization: Quantization) -> None:
    folder = make_folder(tmp_path / "model")
    first = _written(folder, quantization).read_bytes()
    assert _written(folder, quantization).read_bytes() == first


def test_a_mistral_without_a_window_is_a_llama(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    expected = _written(folder).read_bytes()
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None}
    path.write_text(json.dumps(config), encoding="utf-8")
    assert _written(folder).read_bytes() == expected
    path.write_text(json.dumps(config | {"sliding_window": 64}), encoding="utf-8")
    with pytest.raises(Refusal, match="a window of 64 tokens"):
        _written(folder)


def test_of_several_templates_the_default_is_written(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/other.jinja").write_text("{{ messages }}", encoding="utf-8")
    assert isinstance(AutoTokenizer.from_pretrained(folder).chat_template, dict)
    back = _read_back(_written(folder))
    assert (back / "chat_template.jinja").read_text(encoding="utf-8") == template


# ---- what llama.cpp computes ----


@pytest.mark.parametrize("rope", [None, *ROPES])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_llama_cpp_answers_as_transformers_does(tmp_path: Path, rope: str | None, tied: bool) -> None:
    scaling: dict[str, Any] = {"rope_parameters": ROPES[rope]} if rope else {}
    folder = make_folder(tmp_path / "model", tie_word_embeddings=tied, **scaling)
    ids, scores = Llama(_written(folder)).greedy(IDS * 8, 16)
    expected = greedy(LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32), IDS * 8, 16)
    assert ids == expected[0]
    assert farthest(scores, *expected) < 0.02


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": "all-linear", "r": 4, "lora_alpha": 8},
        {"target_modules": ["q_proj", "k_proj"], "r": 8, "lora_alpha": 4, "use_rslora": True},
        {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 4, "rank_pattern": {"v_proj": 2}},
        {"target_modules": ["v_proj", "q_proj"], "r": 4, "lora_alpha": 4, "alpha_pattern": {"v_proj": 16}},
    ],
    ids=["all", "rslora", "ranks", "alphas"],
)
def test_a_gguf_adapter_answers_as_peft_does(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = make_folder(tmp_path / "model")
    adapter = write_tiny_adapter(folder, tmp_path / "adapter", width=64, **options)
    write_gguf_adapter(adapter, folder, tmp_path / "adapter.gguf")
    base = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    alone = greedy(base, IDS, 24)
    tuned = greedy(PeftModel.from_pretrained(base, adapter), IDS, 24)
    path = _written(folder)
    ids, scores = Llama(path, [tmp_path / "adapter.gguf"]).greedy(IDS, 24)
    assert ids == tuned[0] != alone[0]
    assert farthest(scores, *tuned) < 0.02
    assert Llama(path).greedy(IDS, 24)[0] == alone[0]


# ---- the tokenizer ----

TEXTS = ("", " ", " a\n\n12 b  c", "Grüße, 世界 🌍", "<|im_start|>user\nHello<|im_end|>\n", "x</s> hello", "\t\r\n x")


def _require_same_tokens(folder: Path) -> None:
    """The folder's tokenizer, the one read back and llama.cpp's give the same ids."""
    path = _written(folder)
    own: Any = AutoTokenizer.from_pretrained(folder)
    back: Any = AutoTokenizer.from_pretrained(_read_back(path))
    llama = Llama(path)

    def hold(text: str) -> None:
        ids = own(text).input_ids
        assert back(text).input_ids == ids
        assert llama.encode(text, special=True) == ids

    for text in TEXTS:
        hold(text)
    settings(max_examples=60, deadline=None)(given(st.text(max_size=40))(hold))()
    assert back.chat_template == own.chat_template
    assert (back.bos_token_id, back.eos_token_id) == (own.bos_token_id, own.eos_token_id)


def _changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Change the tokenizer file in a folder."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
SPLITS: dict[str, list[dict[str, Any]]] = {
    "gpt-2": [{**BYTES, "use_regex": True}],
    "smollm": [{"type": "Digits", "individual_digits": True}, {**BYTES, "use_regex": True}],
    "llama-bpe": [
        {"type": "Split", "pattern": {"Regex": LLAMA_3_SPLIT}, "behavior": "Isolated", "invert": False},
        {**BYTES, "use_regex": False},
    ],
}


@pytest.mark.parametrize("name", SPLITS)
def test_a_byte_level_tokenizer_gives_the_same_ids(tmp_path: Path, name: str) -> None:
    def change(content: dict[str, Any]) -> None:
        content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": SPLITS[name]}
        content["model"]["ignore_merges"] = name == "llama-bpe"

    _require_same_tokens(_changed(make_folder(tmp_path / "model"), change))


@pytest.mark.parametrize("prefix", [True, False], ids=["prefix", "none"])
def test_a_sentencepiece_tokenizer_gives_the_same_ids(tmp_path: Path, prefix: bool) -> None:
    folder = make_folder(tmp_path / "model", vocab_size=320)  # more rows than tokens
    write_sentencepiece(folder, prefix)
    _require_same_tokens(folder)


@pytest.mark.parametrize(
    ("settings", "configuration", "ends"), [([7, 1, 9], 5, [1, 7, 9]), (None, [1, 5], [1, 5]), ([1], [5], 1)]
)
def test_all_tokens_that_end_an_answer_come_back(
    tmp_path: Path, settings: list[int] | None, configuration: int | list[int], ends: int | list[int]
) -> None:
    folder = make_folder(tmp_path / "model", eos_token_id=configuration)
    (folder / "generation_config.json").unlink()
    if settings:  # then the configuration is not asked
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": settings}), encoding="utf-8")
    back = json.loads((_read_back(_written(folder)) / "config.json").read_text(encoding="utf-8"))
    assert back["eos_token_id"] == ends


@pytest.mark.parametrize(("template", "prefix"), [("{{ bos_token }}{{ messages[0]['content'] }}", False), (None, True)])
def test_a_space_at_the_beginning_alone_is_left_away_where_chats_begin_with_bos(
    tmp_path: Path, template: str | None, prefix: bool
) -> None:
    folder = make_folder(tmp_path / "model", vocab_size=320)
    write_sentencepiece(folder, True)
    first = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    _changed(folder, lambda content: content.update(normalizer=None, pre_tokenizer=first))
    if template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    llama, own = Llama(_written(folder)), AutoTokenizer.from_pretrained(folder)
    text = "<s>hello a" if template else "hello a"
    assert llama.encode(text) == own(text, add_special_tokens=False).input_ids
    assert (llama.encode("hello") != own("hello", add_special_tokens=False).input_ids) is not prefix


# ---- what is refused ----


def _refusal(folder: Path) -> str:
    with pytest.raises(Refusal) as refused:
        _written(folder)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # no half of a file
    return str(refused.value)


def test_more_ends_than_a_file_can_name_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 5, 7, 9]}), encoding="utf-8")
    assert "ends answers with 4 tokens, and GGUF has 3" in _refusal(folder)


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"architectures": ["MambaForCausalLM"]}, "holds a MambaForCausalLM"),
    ({"architectures": None}, "unknown architecture"),
    ({"attention_bias": True}, "has biases"),
    ({"hidden_act": "gelu"}, "computes with gelu"),
    ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "scaling of the kind 'dynamic'"),
    ({"rope_parameters": {**ROPES["yarn"], "attention_factor": 2.0}}, "'yarn' with attention_factor"),
    ({"rope_parameters": {**ROPES["yarn"], "beta_fast": 2.0, "beta_slow": 1}}, "'yarn' with beta_fast"),
    ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "quantised already"),
    ({"num_hidden_layers": 3}, "lacks the weights model.layers.2."),
    ({"num_hidden_layers": 1}, "holds the weights model.layers.1."),
    ({"vocab_size": 300}, "has 316 rows, config.json says 300"),
    ({"model_type": "nothing"}, "no configuration of a known model"),
]


@pytest.mark.parametrize(("changes", "words"), CONFIGS, ids=[words for _, words in CONFIGS])
def test_a_model_that_gguf_cannot_hold_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    folder = make_folder(tmp_path / "model")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    assert words in _refusal(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.update(normalizer={"type": "NFC"}), "changes texts before it splits them"),
        (lambda content: content["pre_tokenizer"].update(add_prefix_space=True), "has no name here"),
        (lambda content: content["model"].update(ignore_merges=True), "treats whole words otherwise"),
        (lambda content: content["model"].update(merges=[]), "has no merges"),
        (lambda content: content["model"].update(end_of_word_suffix="</w>"), "only plain BPE"),
        (lambda content: content["added_tokens"][0].update(lstrip=True), "<|im_start|> with lstrip"),
        (lambda content: content["model"]["vocab"].update(more=999), "1000 tokens, the model's embedding"),
    ],
    ids=["normalizer", "split", "whole words", "merges", "suffix", "strip", "rows"],
)
def test_a_tokenizer_that_llama_cpp_would_not_follow_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    assert words in _refusal(_changed(make_folder(tmp_path / "model"), change))


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "not finite"), (70000.0, "beyond the 65504")])
def test_weights_that_sixteen_bits_cannot_hold_are_refused(tmp_path: Path, value: float, words: str) -> None:
    folder = make_folder(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][3, 5] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert words in _refusal(folder)


ADAPTERS: list[tuple[dict[str, Any], str]] = [
    ({"use_dora": True}, "has use_dora"),
    ({"modules_to_save": ["norm"]}, "has modules_to_save"),
    ({"trainable_token_indices": [3]}, "has trainable_token_indices"),
    ({"init_lora_weights": "pissa"}, "began as pissa"),
    ({"target_modules": ["embed_tokens"]}, "is no LoRA pair"),
    ({"width": 32}, "has another size"),
    ({"layers": 3}, "changes model.layers.2.self_attn.q_proj"),
]


@pytest.mark.parametrize(("options", "words"), ADAPTERS, ids=[words for _, words in ADAPTERS])
def test_an_adapter_that_is_more_than_lora_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    folder = make_folder(tmp_path / "model")
    adapter = write_tiny_adapter(folder, tmp_path / "adapter", **{"width": 64, **options})
    with pytest.raises(Refusal) as refused:
        write_gguf_adapter(adapter, folder, tmp_path / "adapter.gguf")
    assert words in str(refused.value)
    assert "--to gguf" in str(refused.value) or "does not fit" in str(refused.value)
    assert not (tmp_path / "adapter.gguf").exists()


# ---- the embedded model ----


@pytest.mark.slow
@pytest.mark.model
def test_the_embedded_model_in_eight_bits_answers_as_it_does(smollm: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(smollm.path, path, "q8_0")
    assert path.stat().st_size < 150e6
    tokenizer: Any = AutoTokenizer.from_pretrained(smollm.path)
    llama = Llama(path)
    chat = [{"role": "user", "content": "What is the capital of Italy?"}]
    for text in (*TEXTS, "Grüße, 12 345!\n\n1. b  2"):
        assert llama.encode(text) == tokenizer(text, add_special_tokens=False).input_ids
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert llama.encode(text, special=True) == ids
    network = LlamaForCausalLM.from_pretrained(smollm.path, dtype=torch.float32)
    found, scores = llama.greedy(ids, 8)
    expected = greedy(network, ids, 8)
    assert found == expected[0]
    assert farthest(scores, *expected) < 0.5  # its eight bits alone move this small model by 0.2
