"""Rows encoded whole give the ids that encoding piece by piece gives, whatever the tokenizer does at the borders."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from carrara.data.render.encode import Encoder
from carrara.models import Model
from carrara.models.load import load_tokenizer

_CORPUS = [
    "Don't stop: the  quick brown fox\n\njumps over 123 lazy dogs.\n", "assistant\nuser\n  system\n", "\n\n\n", "    "
] * 40  # fmt: skip


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(_CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    return tokenizer


def _metaspace(scheme: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.train_from_iterator(_CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=["?"]))
    return tokenizer


def _prepending() -> Tokenizer:
    """As Llama 2's: the normalizer writes a mark in front of each stretch of text."""
    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.train_from_iterator(_CORPUS, trainers.BpeTrainer(vocab_size=300, special_tokens=["?"]))
    return tokenizer


_KINDS: dict[str, Any] = {
    "byte-level": (_byte_level, {}),
    "metaspace first": (lambda: _metaspace("first"), {}),
    "metaspace always": (lambda: _metaspace("always"), {}),
    "prepending": (_prepending, {}),
    "normalized tokens": (_prepending, {"normalized": True}),
    "stripping tokens": (_byte_level, {"lstrip": True, "rstrip": True}),
    "whole words": (_byte_level, {"single_word": True}),
}


def _tokenizer(kind: str) -> PreTrainedTokenizerBase:
    make, options = _KINDS[kind]
    tokenizer = make()
    tokens = ["<s>", "</s>", "</s>x", "<tool>"]
    tokenizer.add_special_tokens([AddedToken(token, **{"normalized": False} | options) for token in tokens])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module", params=list(_KINDS))
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return Encoder(_tokenizer(request.param))


_PARTS = st.sampled_from(
    [
        "<s>",
        "</s>",
        "<tool>",
        "x",
        " ",
        "\n",
        "\n\n",
        "'",
        "t",
        "Don't",
        "assistant\n",
        "fox",
        "12",
        "é",
        "<",
        "s>",
        "</",
    ]
)
_ROWS = st.lists(st.lists(st.lists(_PARTS, max_size=6).map("".join), min_size=1, max_size=5), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(rows=_ROWS)
def test_whole_rows_give_the_ids_of_their_pieces(encoder: Encoder, rows: list[list[str]]) -> None:
    assert encoder.encode(rows) == [encoder.piece_by_piece(row) for row in rows]


def test_a_token_that_would_straddle_a_border_is_split_there() -> None:
    encoder = Encoder(_tokenizer("byte-level"))
    (joined, _), (apart, ends) = encoder.encode([["\n\n"], ["\n", "\n"]])
    assert (len(joined), len(apart), ends) == (1, 2, [1, 2])


def test_the_opening_is_what_the_tokenizer_writes_in_front(tiny_folder: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    assert Encoder(AutoTokenizer.from_pretrained(tiny_folder)).opening() == []
    tokenizer = _byte_level()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    encoder = Encoder(PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"))
    assert encoder.opening() == [ids[0][1]]  # and not the end


@pytest.mark.model
def test_real_rows_and_conversations_give_the_ids_of_their_pieces(smollm: Model, benchmark_folder: Path) -> None:
    encoder = Encoder(load_tokenizer(smollm))
    lines = (benchmark_folder / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [(row["question"], row["answer"]) for row in map(json.loads, lines[:600])]
    chance = random.Random(0)
    rows: list[list[str]] = []
    for count in range(300):
        row: list[str] = []
        for question, answer in chance.sample(pairs, 1 + count % 4):
            start = chance.choice(["", " ", "\n", "\n\n"])
            row += [f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", f"{start}{answer}<|im_end|>"]
        rows += [row, [pairs[count][0] + chance.choice(["", " ", "\n"]), pairs[count][1] + "<|im_end|>"]]
    encoded = encoder.encode(rows)
    assert len(encoded) == 600
    assert encoded == [encoder.piece_by_piece(row) for row in rows]
