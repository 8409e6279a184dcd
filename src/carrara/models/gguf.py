"""Reading a GGUF file of the llama architecture into Hugging Face form.

Weights are de-quantised to float32, which represents every GGUF type exactly; the rotary
permutation of the query and key rows is undone. `export/gguf.py` writes what is read here. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.models.gguf_tokenizer import end_ids, write_tokenizer
from carrara.workspace import is_full_disk

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader, ReaderTensor

_HEADER = struct.Struct("<4sIQQ")
_LIMIT = 1 << 20  # more tensors or metadata keys than any real model has

ROPE_FACTORS = "rope_freqs.weight"
_TENSOR_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_BLOCK_NAMES = {
    "attn_norm.weight": "input_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}

# llama.cpp keeps of Llama 3's scaling nothing but the factors that it gives. What gave them stands beside them under a
# key of Carrara's; in files of others they are those of Llama 3 itself.
LLAMA_3_KEY = "carrara.rope.llama3"
LLAMA_3_NUMBERS = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_LLAMA_3 = (1.0, 4.0, 8192.0)


def tensor_names(blocks: int) -> dict[str, str]:
    """The matrices and norms of a llama model with so many blocks, an untied head among them: GGUF's name -> ours."""
    of_blocks = {
        f"blk.{index}.{ours}": f"model.layers.{index}.{theirs}"
        for index in range(blocks)
        for ours, theirs in _BLOCK_NAMES.items()
    }
    return {**_TENSOR_NAMES, **of_blocks}


def llama_3_factors(rope: Mapping[str, Any], width: int) -> np.ndarray:
    """By what Llama 3's scaling divides each rotary frequency of a head of so many values, `(width / 2,)` in float32.

    `rope` are the rope parameters of a configuration. Long waves are stretched by `factor`, short ones are left alone.
    """
    import numpy as np

    wavelengths = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, width, 2) / width)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = np.clip((rope["original_max_position_embeddings"] / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32)


def check_header(path: Path) -> None:
    """Refuse a file whose first bytes are no plausible GGUF header, before any reader maps it."""
    head = path.read_bytes()[: _HEADER.size] if path.stat().st_size < 64 else _head(path)
    if len(head) < _HEADER.size or head[:4] != b"GGUF":
        raise Refusal(f"{path} is not a GGUF file (it does not begin with 'GGUF'); give a .gguf model file.")
    _, version, tensors, keys = _HEADER.unpack(head)
    if version not in (2, 3):
        raise Refusal(f"{path}: GGUF version {version} is not supported (2 and 3 are); convert the file anew.")
    if tensors > _LIMIT or keys > _LIMIT:
        raise Refusal(f"{path} has a damaged GGUF header ({tensors} tensors, {keys} keys); fetch the file again.")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER.size)


def convert_gguf(path: Path, target: Path, weights: bool = True) -> None:
    """Write `config.json`, `model.safetensors` and the tokenizer of a llama-architecture GGUF file.

    Without `weights`, which take the time, the rest alone. Raises Refusal where the file is damaged or holds another
    architecture.
    """
    check_header(path)
    try:
        _convert(path, target, weights)
    except (Refusal, OSError, MemoryError):
        raise
    except KeyError as error:
        raise Refusal(f"{path} lacks {error}, which a llama model has; fetch the file again.") from error
    except Exception as error:  # NumPy, the reader and the tokenizer's builder raise what they like on damaged bytes
        if is_full_disk(error):
            raise
        raise Refusal(f"{path} is a damaged or truncated GGUF file; fetch it again. ({error})") from error


def _convert(path: Path, target: Path, weights: bool) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    architecture = fields.get("general.architecture")
    if architecture != "llama":
        raise Refusal(
            f"{path} holds a model of architecture '{architecture}'; only 'llama' is read from GGUF. "
            "Use the model's Hugging Face folder instead."
        )
    factors = next((_dequantized(tensor, path) for tensor in reader.tensors if tensor.name == ROPE_FACTORS), None)
    rope = _rope(fields) if factors is None else _llama_3(fields, factors, path)
    shapes = {_hugging_face_name(tensor.name, path): _shape(tensor) for tensor in _matrices(reader)}
    _check_complete(shapes, int(fields["llama.block_count"]), path)
    config = _config(fields, shapes, rope)
    (target / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    if weights:
        tensors = _weights(reader, path, heads=int(fields["llama.attention.head_count"]), kv_heads=_kv_heads(fields))
        _save(tensors, shapes, target / "model.safetensors")
    write_tokenizer(fields, target)


def _kv_heads(fields: Mapping[str, Any]) -> int:
    return int(fields.get("llama.attention.head_count_kv", fields["llama.attention.head_count"]))


def _matrices(reader: GGUFReader) -> list[ReaderTensor]:
    """The tensors that are weights."""
    return [tensor for tensor in reader.tensors if tensor.name != ROPE_FACTORS]


def _shape(tensor: ReaderTensor) -> tuple[int, ...]:
    return tuple(int(n) for n in reversed(tensor.shape))


def _weights(reader: GGUFReader, path: Path, heads: int, kv_heads: int) -> Iterator[np.ndarray]:
    """The weights in float32, one at a time, in the order of their names in Hugging Face form."""
    named = {_hugging_face_name(tensor.name, path): tensor for tensor in _matrices(reader)}
    for name in sorted(named):
        values = _dequantized(named[name], path)
        if name.endswith("q_proj.weight"):
            values = unpermute(values, heads)
        elif name.endswith("k_proj.weight"):
            values = unpermute(values, kv_heads)
        yield values


def _save(tensors: Iterable[np.ndarray], shapes: Mapping[str, tuple[int, ...]], target: Path) -> None:
    """Write float32 tensors, in the order of their names, as safetensors' `save_file` does, but never hold them all."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        begin, end = end, end + 4 * math.prod(shapes[name])
        header[name] = {"dtype": "F32", "shape": shapes[name], "data_offsets": (begin, end)}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with target.open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for values in tensors:
            file.write(values.data)


def _check_complete(tensors: Mapping[str, tuple[int, ...]], blocks: int, path: Path) -> None:
    """Refuse a file that does not hold every tensor of as many blocks as it names, and no others."""
    wanted = {*tensor_names(min(blocks, len(tensors) + 1)).values()} - {"lm_head.weight"}
    if wrong := sorted(wanted ^ set(tensors) - {"lm_head.weight"}):
        verb = "lacks" if wrong[0] in wanted else "has too much"
        raise Refusal(f"{path} names {blocks} blocks and {verb} {wrong[0]}; fetch the file again.")


def _hugging_face_name(name: str, path: Path) -> str:
    if name in _TENSOR_NAMES:
        return _TENSOR_NAMES[name]
    prefix, _, rest = name.partition(".")
    index, _, tail = rest.partition(".")
    if prefix == "blk" and index.isdigit() and tail in _BLOCK_NAMES:
        return f"model.layers.{index}.{_BLOCK_NAMES[tail]}"
    raise Refusal(f"{path}: tensor '{name}' does not belong to a plain llama model; use its Hugging Face folder.")


def _dequantized(tensor: ReaderTensor, path: Path) -> np.ndarray:
    import numpy as np
    from gguf import dequantize

    try:
        values = dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError as error:
        raise Refusal(
            f"{path}: tensor '{tensor.name}' is stored as {tensor.tensor_type.name}, which cannot be read exactly; "
            "use an F16, BF16, Q8_0 or Q4 file."
        ) from error
    return np.ascontiguousarray(values.reshape(_shape(tensor)), dtype=np.float32)


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's interleaving of the two rotary halves of each head; (heads * d, width) both ways."""
    import numpy as np

    half = rows.shape[0] // heads // 2
    halves = rows.reshape(heads, half, 2, *rows.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(halves.reshape(rows.shape))


def _config(
    fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], rope: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": int(fields["llama.embedding_length"]),
        "intermediate_size": int(fields["llama.feed_forward_length"]),
        "num_hidden_layers": int(fields["llama.block_count"]),
        "num_attention_heads": int(fields["llama.attention.head_count"]),
        "num_key_value_heads": _kv_heads(fields),
        "head_dim": _head_width(fields),
        "max_position_embeddings": int(fields["llama.context_length"]),
        "rms_norm_eps": _shortest(fields["llama.attention.layer_norm_rms_epsilon"]),
        "rope_parameters": rope,
        "vocab_size": shapes["model.embed_tokens.weight"][0],
        "tie_word_embeddings": "lm_head.weight" not in shapes,
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": end_ids(fields),
        "pad_token_id": fields.get("tokenizer.ggml.padding_token_id"),
        "dtype": "float32",
    }


def _head_width(fields: Mapping[str, Any]) -> int:
    usual = int(fields["llama.embedding_length"]) // int(fields["llama.attention.head_count"])
    return int(fields.get("llama.rope.dimension_count", usual))


def _rope(fields: Mapping[str, Any]) -> dict[str, Any]:
    kind = fields.get("llama.rope.scaling.type", "none")
    rope: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": _shortest(fields.get("llama.rope.freq_base", 10000.0)),
    }
    if kind == "linear":
        rope |= {"rope_type": "linear", "factor": _shortest(fields["llama.rope.scaling.factor"])}
    elif kind == "yarn":
        rope |= {"rope_type": "yarn", "factor": _shortest(fields["llama.rope.scaling.factor"])}
        rope["original_max_position_embeddings"] = int(fields["llama.rope.scaling.original_context_length"])
    elif kind != "none":
        raise Refusal(f"rope scaling '{kind}' is not read from GGUF; use the model's Hugging Face folder.")
    return rope


def _llama_3(fields: Mapping[str, Any], factors: np.ndarray, path: Path) -> dict[str, Any]:
    """The scaling that gives the stored factors."""
    import numpy as np

    numbers = [_shortest(value) for value in fields.get(LLAMA_3_KEY, (factors.max(), *_LLAMA_3))]
    rope = {**_rope(fields), "rope_type": "llama3", **dict(zip(LLAMA_3_NUMBERS, numbers, strict=True))}
    rope["original_max_position_embeddings"] = int(rope["original_max_position_embeddings"])
    computed = llama_3_factors(rope, _head_width(fields))
    if factors.shape != computed.shape or not np.allclose(factors, computed, rtol=1e-4) or rope["factor"] == 1:
        raise Refusal(
            f"{path}: '{ROPE_FACTORS}' holds other factors than Llama 3's; use the model's Hugging Face folder."
        )
    return rope


def _shortest(value: float) -> float:
    """The shortest decimal of a stored float32: 9.999999747378752e-06 is meant as 1e-05."""
    import numpy as np

    return float(str(np.float32(value)))
