"""A Hugging Face tokenizer as the metadata of a GGUF file: the inverse of `models/gguf_tokenizer.py`.

llama.cpp knows a tokenizer by the name of its pre-tokenizer and has a program for each; one that none of the known
names stands for is refused, since it would split texts in another way, without a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from carrara.data.example import Example, Message
from carrara.data.render.encode import Encoder
from carrara.data.render.example import render_example
from carrara.data.render.template import chat_template, prompt_text
from carrara.errors import Refusal
from carrara.models.gguf_tokenizer import (
    BYTE,
    CONTROL,
    END_KEYS,
    LLAMA_3,
    NORMAL,
    PRE_TOKENIZERS,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    pre_tokenizer,
)
from carrara.models.load import tokenizer_in

_WAY_OUT = "export safetensors"
_UNUSUAL = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")


def tokenizer_fields(folder: Path, rows: int) -> dict[str, Any]:
    """The tokenizer in a folder as GGUF's metadata, for an embedding of so many rows.

    Raises Refusal for a tokenizer that llama.cpp would not follow to the letter.
    """
    tokenizer: Any = tokenizer_in(folder)
    where = f"the tokenizer in {folder}"
    if not tokenizer.is_fast:
        raise Refusal(f"{where} is none of the library tokenizers, which alone is written as GGUF: {_WAY_OUT}.")
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    model = content["model"]
    if model["type"] != "BPE" or any(model.get(key) for key in _UNUSUAL):
        raise Refusal(f"{where} is of the kind {model['type']}; only plain BPE is written as GGUF: {_WAY_OUT}.")
    _require_plain(content["added_tokens"], where)
    tokens, types = _tokens(content, rows, where)
    if model.get("byte_fallback"):
        kind = _sentencepiece(content, tokens, types, tokenizer, where)
    else:
        kind = _byte_level(content, where)
    return {
        **kind,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        **_special(tokenizer, folder, where),
        **_template(tokenizer),
    }


def _require_plain(added: Sequence[Mapping[str, Any]], where: str) -> None:
    for token in added:
        for flag in ("lstrip", "rstrip", "single_word"):
            if token[flag]:
                raise Refusal(f"{where} has the token {token['content']} with {flag}, which GGUF has not: {_WAY_OUT}.")


def _tokens(content: Mapping[str, Any], rows: int, where: str) -> tuple[list[str], list[int]]:
    """The text and the type of each row's token; rows without one get a name that no text spells."""
    texts = {index: token for token, index in content["model"]["vocab"].items()}
    types = dict.fromkeys(texts, NORMAL)
    for token in content["added_tokens"]:
        texts[token["id"]] = token["content"]
        types[token["id"]] = CONTROL if token["special"] else USER_DEFINED
    if texts and max(texts) >= rows:
        raise Refusal(f"{where} has {max(texts) + 1} tokens, the model's embedding {rows} rows; make the model again.")
    return [texts.get(row, f"[PAD{row}]") for row in range(rows)], [types.get(row, UNUSED) for row in range(rows)]


def _byte_level(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    if content["normalizer"] is not None:
        raise Refusal(f"{where} changes texts before it splits them, which GGUF has not: {_WAY_OUT}.")
    name = _name(content["pre_tokenizer"], where)
    merges: list[tuple[str, str]] = content["model"]["merges"]
    if not merges:
        raise Refusal(f"{where} has no merges, and GGUF knows no such tokenizer: {_WAY_OUT}.")
    if bool(content["model"].get("ignore_merges")) != (name == LLAMA_3):
        raise Refusal(f"{where} splits as '{name}' and treats whole words otherwise: {_WAY_OUT}.")
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in merges],
    }


def _name(found: Any, where: str) -> str:
    """The name under which llama.cpp has this pre-tokenizer."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE

    for name in PRE_TOKENIZERS:
        known = Tokenizer(BPE())
        known.pre_tokenizer = pre_tokenizer(name)
        if _splits(json.loads(known.to_str())["pre_tokenizer"]) == _splits(found):
            return name
    raise Refusal(
        f"{where} splits texts in a way that has no name here ({', '.join(PRE_TOKENIZERS)} have): {_WAY_OUT}."
    )


def _splits(steps: Any) -> list[Any]:
    """What of a pre-tokenizer determines token ids; offsets do not."""
    parts = steps["pretokenizers"] if steps and steps["type"] == "Sequence" else [steps]
    return [{key: value for key, value in (part or {}).items() if key != "trim_offsets"} for part in parts]


def _sentencepiece(
    content: Mapping[str, Any], tokens: Sequence[str], types: list[int], tokenizer: Any, where: str
) -> dict[str, Any]:
    """llama.cpp joins the neighbours whose joint token scores highest, so the scores are the order of the merges."""
    scores: dict[str, float] = {}
    for place, (left, right) in enumerate(content["model"]["merges"]):
        scores.setdefault(left + right, -float(place))
    unknown = content["model"].get("unk_token")
    for row, token in enumerate(tokens):
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            types[row] = BYTE
        elif token == unknown:
            types[row] = UNKNOWN
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": [scores.get(token, -1e6) for token in tokens],
        "tokenizer.ggml.add_space_prefix": _prefixes_space(content, tokenizer, where),
    }


def _prefixes_space(content: Mapping[str, Any], tokenizer: Any, where: str) -> bool:
    """Whether a space is put before each stretch of text between special tokens.

    A tokenizer that puts one at the very beginning alone is not like this. Where chats begin with BOS it puts none into
    them, and the file says so.
    """
    steps = content["normalizer"] or {}
    found = [step["type"] for step in steps.get("normalizers", [steps] if steps else [])]
    split = content["pre_tokenizer"]
    if split is None and found in (["Replace"], ["Prepend", "Replace"]):
        return "Prepend" in found
    if found or not split or split["type"] != "Metaspace" or split["replacement"] != SPACE or split["split"]:
        raise Refusal(f"{where} treats spaces in a way that GGUF has not: {_WAY_OUT}.")
    scheme = split["prepend_scheme"]
    return scheme == "always" or (scheme == "first" and not _chats_begin_with_bos(tokenizer))


def _chats_begin_with_bos(tokenizer: Any) -> bool:
    try:
        text = prompt_text(chat_template(tokenizer), [Message("user", "Hello")])
    except Refusal:  # no template
        return False
    return bool(tokenizer.bos_token) and text.startswith(tokenizer.bos_token)


def _special(tokenizer: Any, folder: Path, where: str) -> dict[str, Any]:
    """The ids of special tokens, and which of them the tokenizer puts around every text."""
    bare = tokenizer.encode("a", add_special_tokens=False)
    full = tokenizer.encode("a", add_special_tokens=True)
    before, after = Encoder(tokenizer).opening(), full[len(Encoder(tokenizer).opening()) + len(bare) :]
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    if eos is None:
        raise Refusal(f"{where} has no end-of-text token, so that no answer would end; name one as eos_token.")
    if before not in ([], [bos]) or after not in ([], [eos]):
        raise Refusal(f"{where} puts more around a text than its bos and eos token, which GGUF has not: {_WAY_OUT}.")
    ends = dict.fromkeys([eos, *_ends(tokenizer, folder)])
    if len(ends) > len(END_KEYS):
        raise Refusal(f"{where} ends answers with {len(ends)} tokens, and GGUF has {len(END_KEYS)}: {_WAY_OUT}.")
    ids = {
        "bos": bos,
        **dict(zip(END_KEYS, ends)),
        "unknown": tokenizer.unk_token_id,
        "padding": tokenizer.pad_token_id,
    }
    return {
        **{f"tokenizer.ggml.{name}_token_id": index for name, index in ids.items() if index is not None},
        "tokenizer.ggml.add_bos_token": bool(before),
        "tokenizer.ggml.add_eos_token": bool(after),
    }


def _ends(tokenizer: Any, folder: Path) -> Iterable[int]:
    """The tokens that end an answer: the chat template's, then those that the settings for writing name."""
    example = Example((Message("user", "Hello"), Message("assistant", "Hello")), (1,), 0)
    with suppress(Refusal):
        yield render_example(tokenizer, example, "chat", 1 << 20).ids[-1]
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            found = json.loads((folder / name).read_text(encoding="utf-8")).get("eos_token_id")
            yield from found if isinstance(found, list) else [] if found is None else [found]
            break  # the configuration is asked where there are no settings for writing


def _template(tokenizer: Any) -> dict[str, str]:
    template = tokenizer.chat_template
    if isinstance(template, dict):  # several, by name
        template = template.get("default")
    return {"tokenizer.chat_template": template} if template else {}
