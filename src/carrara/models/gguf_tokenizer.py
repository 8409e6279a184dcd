"""The tokenizer that a GGUF file's metadata describes, as a `tokenizer.json` and its configuration.

The pre-tokenizer is named in the file and not stored; the splits below are those of the models'
own tokenizers. A name that is not listed is refused, since a wrong split changes token ids silently.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer
    from tokenizers.pre_tokenizers import PreTokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # llama.cpp's token types

END_KEYS = ("eos", "eot", "eom")  # of tokens that end an answer; to llama.cpp they are alike
SPACE = "▁"  # of SentencePiece
LLAMA_3 = "llama-bpe"
PRE_TOKENIZERS = ("gpt-2", "smollm", LLAMA_3)  # of the names that mean the same, the usual one
_LLAMA_3 = (LLAMA_3, "llama3", "llama-v3")
_LLAMA_3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def write_tokenizer(fields: Mapping[str, Any], target: Path) -> None:
    """Write `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` into `target`."""
    kind = fields.get("tokenizer.ggml.model")
    if kind == "gpt2":
        _write_byte_level(fields, target)
    elif kind == "llama":
        _write_sentencepiece(fields, target)
    else:
        raise Refusal(f"the GGUF file's tokenizer is of kind '{kind}'; 'gpt2' and 'llama' are read.")
    config = _configuration(fields)
    (target / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    template = fields.get("tokenizer.chat_template")
    if template:
        (target / "chat_template.jinja").write_text(template, encoding="utf-8")


def end_ids(fields: Mapping[str, Any]) -> int | list[int] | None:
    """The tokens that end an answer, as a configuration names them."""
    named = [fields.get(f"tokenizer.ggml.{key}_token_id") for key in END_KEYS]
    found = [*dict.fromkeys(int(index) for index in named if index is not None)]
    return found if len(found) > 1 else next(iter(found), None)


def _configuration(fields: Mapping[str, Any]) -> dict[str, Any]:
    tokens = fields["tokenizer.ggml.tokens"]
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": int(fields["llama.context_length"]),
        "clean_up_tokenization_spaces": False,
        "add_bos_token": _adds_bos(fields),
    }
    for name, key in names.items():
        index = fields.get(f"tokenizer.ggml.{key}_token_id")
        if index is not None:
            config[name] = tokens[index]
    return config


def _adds_bos(fields: Mapping[str, Any]) -> bool:
    # llama.cpp's rule: sentencepiece and Llama 3 begin with BOS unless the file says otherwise.
    usual = fields.get("tokenizer.ggml.model") == "llama" or fields.get("tokenizer.ggml.pre") in _LLAMA_3
    return bool(fields.get("tokenizer.ggml.add_bos_token", usual))


def pre_tokenizer(name: str) -> PreTokenizer:
    """The pre-tokenizer that a GGUF file names; raises Refusal for one that is not known here."""
    from tokenizers import Regex, pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name in ("default", "gpt-2", "gpt2"):
        return byte_level
    if name == "smollm":
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    if name in _LLAMA_3:
        split = pre_tokenizers.Split(Regex(_LLAMA_3_SPLIT), "isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    raise Refusal(
        f"the GGUF file names the pre-tokenizer '{name}', whose split is not known here; "
        "use the model's Hugging Face folder, which carries its tokenizer."
    )


def _write_byte_level(fields: Mapping[str, Any], target: Path) -> None:
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    # Llama 3 takes a word that is in the vocabulary whole, whatever the merges would make of it.
    whole_words = fields.get("tokenizer.ggml.pre") in _LLAMA_3
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, ignore_merges=whole_words))
    tokenizer.pre_tokenizer = pre_tokenizer(fields.get("tokenizer.ggml.pre", "default"))
    tokenizer.decoder = decoders.ByteLevel()
    _add_marked_tokens(tokenizer, fields)
    if _adds_bos(fields):
        _prepend(tokenizer, tokens[fields["tokenizer.ggml.bos_token_id"]])
    tokenizer.save(str(target / "tokenizer.json"))


def _write_sentencepiece(fields: Mapping[str, Any], target: Path) -> None:
    from tokenizers import normalizers
    from transformers import LlamaTokenizer
    from transformers.tokenization_utils_base import generate_merges

    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    scores = dict(zip(tokens, fields["tokenizer.ggml.scores"], strict=True))
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=generate_merges(vocabulary, scores))
    backend = tokenizer.backend_tokenizer
    spaces: list[Normalizer] = [normalizers.Replace(" ", SPACE)]
    if fields.get("tokenizer.ggml.add_space_prefix", True):  # before each stretch of text between special tokens
        spaces.insert(0, normalizers.Prepend(SPACE))
    backend.normalizer, backend.pre_tokenizer = normalizers.Sequence(spaces), None
    _add_marked_tokens(backend, fields)
    if _adds_bos(fields):
        _prepend(backend, tokens[fields["tokenizer.ggml.bos_token_id"]])
    backend.save(str(target / "tokenizer.json"))


def _add_marked_tokens(tokenizer: Any, fields: Mapping[str, Any]) -> None:
    from tokenizers import AddedToken

    tokens = fields["tokenizer.ggml.tokens"]
    types = fields.get("tokenizer.ggml.token_type", [])
    special = [AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, types) if kind == CONTROL]
    plain = [AddedToken(t, special=False, normalized=False) for t, kind in zip(tokens, types) if kind == USER_DEFINED]
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(plain)


def _prepend(tokenizer: Any, bos: str) -> None:
    from tokenizers.processors import TemplateProcessing

    index = tokenizer.token_to_id(bos)
    tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, index)]
    )
