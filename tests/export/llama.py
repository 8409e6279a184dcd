"""llama.cpp in the test's process, asked by token ids, and models that it can read."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.tokenization_utils_base import generate_merges

from tests.serve.tiny import make_tokenizer

IDS = (5, 60, 7, 100, 9, 33, 270, 41)


class Llama:
    """A GGUF file, with adapters at full strength, in llama.cpp on one thread."""

    def __init__(self, path: Path, adapters: Sequence[Path] = ()) -> None:
        import xllamacpp

        library: Any = xllamacpp  # it has no types
        params = library.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.port = 256, 1, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.warmup, params.cache_prompt, params.cache_ram_mib, params.verbosity = False, False, 0, -1
        params.cache_type_k = params.cache_type_v = library.ggml_type.GGML_TYPE_F32  # as transformers has it
        infos: list[Any] = []
        for adapter in adapters:
            info = library.CommonAdapterLoraInfo()
            info.path, info.scale = str(adapter), 1.0
            infos.append(info)
        params.lora_adapters = infos
        self._server = library.Server(params)
        self._post("completion", {"prompt": [0], "n_predict": 0})  # ended before its loop has begun, it waits for ever

    def greedy(self, ids: Sequence[int], count: int) -> tuple[list[int], list[tuple[int, float]]]:
        """The likeliest tokens that go on, and the log-probabilities of those among them that end whole characters."""
        asked = {"prompt": [*ids], "n_predict": count, "temperature": 0, "n_probs": 1, "ignore_eos": True}
        found = self._post("completion", {**asked, "return_tokens": True})
        return found["tokens"], [(each["id"], each["logprob"]) for each in found["completion_probabilities"]]

    def encode(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text, control tokens in it understood; `special` adds what the file says."""
        return self._post("tokenize", {"content": text, "add_special": special, "parse_special": True})["tokens"]

    def _post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(f"{self._server.listening_address}/{path}", json.dumps(content).encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def make_folder(folder: Path, seed: int = 0, **settings: Any) -> Path:
    """A random model whose weights are numbers of 16 bits and whose answers depend on every token's place."""
    tokenizer = make_tokenizer(folder)
    torch.manual_seed(seed)
    fields = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
        **settings,
    }
    network = LlamaForCausalLM(LlamaConfig(**fields))
    for parameter in network.parameters():
        parameter.data = (parameter.data + 0.02 * torch.randn_like(parameter)).half().float()
    network.save_pretrained(folder)
    return folder


def write_sentencepiece(folder: Path, prefix: bool) -> None:
    """Replace the tokenizer in a folder by one as SentencePiece makes them: with bytes, and a space before a text."""
    pieces = ["▁", *"abchelotuswrd", "▁a", "ab", "he", "ll", "hell", "hello", "▁hello", "▁▁", "\n"]
    vocabulary = {
        token: row
        for row, token in enumerate(["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces])
    }
    scores = {token: -float(row) for token, row in vocabulary.items()}
    merges = generate_merges(vocabulary, scores)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    spaces = [normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence([*([normalizers.Prepend("▁")] if prefix else []), *spaces])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()


def greedy(network: Any, ids: Sequence[int], count: int) -> tuple[list[int], list[float]]:
    """The same of a network of transformers."""
    whole, scores = [*ids], list[float]()
    for _ in range(count):
        with torch.no_grad():
            logits = network(torch.tensor([whole])).logits[0, -1].float().log_softmax(-1)
        whole.append(int(logits.argmax()))
        scores.append(float(logits.max()))
    return whole[len(ids) :], scores


def farthest(found: Sequence[tuple[int, float]], ids: Sequence[int], scores: Sequence[float]) -> float:
    """How far log-probabilities of some of the tokens are from those of all."""
    own = list(zip(ids, scores, strict=True))
    return max(min(abs(score - other) for each, other in own if each == token) for token, score in found)
