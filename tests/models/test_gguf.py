"""Reading GGUF: the same weights, logits and token ids as the model it was made from, or a refusal."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer, LlamaForCausalLM

from carrara.errors import Refusal
from carrara.models import Model, resolve_model
from carrara.models.gguf import convert_gguf
from carrara.models.load import load_tokenizer
from carrara.progress import Silent
from carrara.workspace import Workspace
from tests.models.tiny_gguf import SPECIAL, as_stored, make_network, vocabulary, write_gguf
from tests.tiny import CHAT_TEMPLATE

IDS = torch.tensor([[1, 20, 30, 40, 50, 60, 2, 7, 19, 250]])


def _convert(path: Path) -> Path:
    target = path.with_suffix(".converted")
    target.mkdir()
    convert_gguf(path, target)
    return target


def _logits(network: Any) -> torch.Tensor:
    with torch.no_grad():
        return network(IDS).logits


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0"])
def test_the_logits_are_those_of_the_stored_weights(tmp_path: Path, kind: str, tied: bool) -> None:
    original = make_network(tied)
    folder = _convert(write_gguf(tmp_path / "m.gguf", original, kind))
    converted = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert torch.equal(_logits(converted), _logits(as_stored(original, kind)))
    if kind == "F32":
        assert torch.equal(_logits(converted), _logits(original))


def test_weights_are_written_as_safetensors_does_and_never_held_together(tmp_path: Path) -> None:
    original = make_network(width=512)
    path = write_gguf(tmp_path / "m.gguf", original, "Q8_0")
    _convert(write_gguf(tmp_path / "first.gguf", make_network()))  # so that imports are not counted below
    tracemalloc.start()
    try:
        written = _convert(path) / "model.safetensors"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6 < 18e6 < written.stat().st_size
    save_file(load_file(written), tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert written.read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


def test_the_configuration_is_that_of_the_model(tmp_path: Path) -> None:
    folder = _convert(write_gguf(tmp_path / "m.gguf", make_network()))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["rope_parameters"] == {"rope_type": "default", "rope_theta": 5000.0}
    assert config["rms_norm_eps"] == 1e-5  # stored as a float32 that is not quite that
    assert (config["num_key_value_heads"], config["head_dim"], config["tie_word_embeddings"]) == (2, 8, True)
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 2)
    linear = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    folder = _convert(write_gguf(tmp_path / "linear.gguf", make_network(), changes=linear))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["rope_parameters"] == {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}


def test_the_tokenizer_splits_marks_and_renders_as_the_file_says(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(_convert(write_gguf(tmp_path / "m.gguf", make_network())))
    pieces = tokenizer.tokenize("a\n\n12 b<|im_end|>c")
    assert pieces == ["a", "ĊĊ", "1", "2", "Ġb", "<|im_end|>", "c"]  # no piece '12', though there is a merge
    assert tokenizer("a\n\n12 b").input_ids == [vocabulary().index(piece) for piece in pieces[:5]]
    assert tokenizer.decode(tokenizer("Grüße, 12  b").input_ids) == "Grüße, 12  b"
    assert set(tokenizer.all_special_tokens) >= {"<|im_start|>", "<|im_end|>"}
    assert tokenizer.decode([0, 1, 2], skip_special_tokens=True) == ""
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (*SPECIAL[1:], SPECIAL[2])


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("gpt-2", ["a", "12", "Ġ", "Ċ", "Ċ", "b"]),
        (None, ["a", "12", "Ġ", "Ċ", "Ċ", "b"]),
        ("llama-bpe", ["a", "12", "Ġ", "ĊĊ", "b"]),
        ("smollm", ["a", "1", "2", "Ġ", "Ċ", "Ċ", "b"]),
    ],
)
def test_each_known_pre_tokenizer_splits_its_own_way(tmp_path: Path, pre: str | None, pieces: list[str]) -> None:
    path = write_gguf(tmp_path / "m.gguf", make_network(), changes={"tokenizer.ggml.pre": pre})
    assert AutoTokenizer.from_pretrained(_convert(path)).tokenize("a12 \n\nb") == pieces


def test_a_beginning_of_text_is_added_where_the_file_asks_for_it(tmp_path: Path) -> None:
    for wanted in (True, False):
        path = write_gguf(tmp_path / f"{wanted}.gguf", make_network(), changes={"tokenizer.ggml.add_bos_token": wanted})
        ids = AutoTokenizer.from_pretrained(_convert(path))("ab").input_ids
        assert (ids[0] == 1) is wanted
        assert len(ids) == 2 + wanted


def test_a_sentencepiece_vocabulary_is_read(tmp_path: Path) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab"]
    types = [2, 3, 3] + [6] * 256 + [1] * 5
    changes = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": None,
        "tokenizer.ggml.merges": None,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.scores": [0.0] * 259 + [-1.0, -2.0, -3.0, -0.5, -0.25],
        "tokenizer.ggml.unknown_token_id": 0,
    }
    network = make_network()
    network.resize_token_embeddings(len(tokens))
    tokenizer = AutoTokenizer.from_pretrained(_convert(write_gguf(tmp_path / "m.gguf", network, changes=changes)))
    assert tokenizer.convert_ids_to_tokens(tokenizer("ab a").input_ids) == ["<s>", "▁", "ab", "▁a"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("é").input_ids)[-2:] == ["<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer("ab a é").input_ids, skip_special_tokens=True) == "ab a é"


# ---- what is refused ----


def _refusal(path: Path) -> str:
    with pytest.raises(Refusal) as refused:
        _convert(path)
    return str(refused.value)


def test_a_truncated_file_is_refused_at_every_length(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf", make_network(), "Q8_0").read_bytes()
    lengths = [0, 3, 4, 8, 20, 23, 24, 25, 63, 64, 65, *range(100, len(whole), 2500), len(whole) - 1]
    for length in lengths:
        path = tmp_path / f"{length}.gguf"
        path.write_bytes(whole[:length])
        assert str(path) in _refusal(path)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, b"GGML", "does not begin with 'GGUF'"),
        (4, struct.pack("<I", 1), "version 1 is not supported"),
        (4, struct.pack(">I", 3), "is not supported"),
        (8, struct.pack("<Q", 1 << 60), "damaged GGUF header"),
        (16, struct.pack("<Q", 1 << 60), "damaged GGUF header"),
        (8, struct.pack("<Q", 1 << 20), "damaged or truncated"),
        (24, struct.pack("<Q", 1 << 62), "damaged or truncated"),
    ],
    ids=["magic", "version", "byte order", "tensors", "keys", "more tensors than bytes", "length of a text"],
)
def test_a_damaged_header_is_refused(tmp_path: Path, place: int, value: bytes, words: str) -> None:
    path = write_gguf(tmp_path / "m.gguf", make_network())
    content = bytearray(path.read_bytes())
    content[place : place + len(value)] = value
    path.write_bytes(content)
    sentence = _refusal(path)
    assert words in sentence
    assert str(path) in sentence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "mamba"}, "architecture 'mamba'; only 'llama'"),
        ({"tokenizer.ggml.pre": "poro-chat"}, "pre-tokenizer 'poro-chat'"),
        ({"tokenizer.ggml.model": "t5"}, "kind 't5'"),
        ({"llama.rope.scaling.type": "longrope", "llama.rope.scaling.factor": 4.0}, "rope scaling 'longrope'"),
        ({"tensors": {"rope_freqs.weight": np.ones(4, dtype=np.float32)}}, "'rope_freqs.weight'"),
        ({"tensors": {"blk.0.attn_q.bias": np.ones(32, dtype=np.float32)}}, "'blk.0.attn_q.bias'"),
        ({"without": "blk.1.ffn_up.weight"}, "lacks model.layers.1.mlp.up_proj.weight"),
        ({"without": "token_embd.weight"}, "lacks model.embed_tokens.weight"),
        ({"llama.block_count": 1}, "names 1 blocks and has too much model.layers.1."),
        ({"llama.block_count": 4_000_000_000}, "lacks model.layers."),
        ({"llama.attention.head_count": None}, "lacks 'llama.attention.head_count'"),
        ({"llama.attention.head_count": 5}, "damaged or truncated"),
        ({"llama.attention.head_count": 0}, "damaged or truncated"),
        ({"llama.context_length": None}, "lacks 'llama.context_length'"),
        ({"tokenizer.ggml.merges": None}, "lacks 'tokenizer.ggml.merges'"),
        ({"tokenizer.ggml.merges": ["x nowhere"]}, "damaged or truncated"),
        ({"tokenizer.ggml.eos_token_id": 999_999}, "damaged or truncated"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_what_cannot_be_read_exactly_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in _refusal(write_gguf(tmp_path / "m.gguf", make_network(), changes=changes))


def test_no_damaged_byte_makes_a_traceback(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf", make_network(), "Q8_0").read_bytes()
    draw = random.Random(0)
    target = tmp_path / "out"
    target.mkdir()
    refused = 0
    for _ in range(120):
        content = bytearray(whole)
        content[draw.randrange(2000)] = draw.randrange(256)
        (tmp_path / "m.gguf").write_bytes(content)
        try:
            convert_gguf(tmp_path / "m.gguf", target)
        except Refusal:
            refused += 1
    assert refused > 30


def test_a_refused_file_leaves_no_model(workspace: Workspace, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", make_network())
    kept = resolve_model(workspace, str(path), Silent())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Refusal, match="truncated"):
        resolve_model(workspace, str(path), Silent())
    assert [model.reference for model in workspace.list("model")] == [kept.source.reference]


# ---- the embedded model ----


@pytest.mark.model
def test_the_embedded_model_has_its_own_tokenizer(smollm: Model) -> None:
    tokenizer: Any = load_tokenizer(smollm)
    pieces = ["a", "ĊĊ", "1", ".", "Ġb", "ĠĠ", "2"]
    assert tokenizer("a\n\n1. b  2").input_ids == tokenizer.convert_tokens_to_ids(pieces)
    assert None not in tokenizer.convert_tokens_to_ids(pieces)
    marked = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    assert len(marked) == 17
    assert tokenizer("<|im_start|>").input_ids == [1]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert "<|im_start|>assistant" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True
    )
