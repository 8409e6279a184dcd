"""Writing a Hugging Face folder of the llama architecture as a GGUF file, and a PEFT adapter as a GGUF adapter.

The inverse of `models/gguf.py`. Tensors go through memory one by one. Formats:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; adapters as llama.cpp's `llama-adapter.cpp` reads them.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from carrara.errors import Refusal
from carrara.export.gguf_config import head_width, hyperparameters, read_config
from carrara.export.gguf_tokenizer import tokenizer_fields
from carrara.export.lora import Pair, read_pairs, require_same_pairs, write_pairs
from carrara.export.weights import Weights
from carrara.models.gguf import ROPE_FACTORS, llama_3_factors, tensor_names, unpermute
from carrara.models.machine import count_cores
from carrara.workspace.files import replace_atomically

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFWriter

Quantization = Literal["f16", "q8_0", "q4_0"]
QUANTIZATIONS: tuple[Quantization, ...] = ("f16", "q8_0", "q4_0")

_FILE_TYPES = {"f16": 1, "q8_0": 7, "q4_0": 2}  # llama.cpp's numbers of the mixtures
_TABLES = ("token_embd.weight", "output.weight")
_ROTARY_BUFFER = "rotary_emb.inv_freq"  # in some old folders; it follows from the configuration
_SCALED = 32  # values that share a scale in Q8_0 and Q4_0
_CHUNK = 1 << 20  # values that one thread encodes at a time
_ROW = 4096  # values in a row of those that the gguf package encodes fastest


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the file: its name, shape and number format there, and what gives its values in float32."""

    name: str
    shape: tuple[int, ...]
    kind: str
    read: Callable[[], np.ndarray]


def write_gguf(folder: Path, target: Path, quantization: Quantization) -> None:
    """Write the model in a Hugging Face folder to `target`, whole or not at all.

    Norms stay in float32. Under `q4_0` the embedding and the head are Q8_0, as every token goes through them; a
    matrix whose rows are no multiple of 32 wide is F16. Raises Refusal for what a llama GGUF file cannot say.
    """
    config = read_config(folder)
    weights = Weights(folder)
    _require_complete(config, weights)
    tensors = [_matrix(weights, *names, config, quantization) for names in _names(config).items()]
    if config.rope_parameters["rope_type"] == "llama3":
        factors = llama_3_factors(config.rope_parameters, head_width(config))
        tensors.insert(0, _Tensor(ROPE_FACTORS, factors.shape, "F32", lambda: factors))
    fields = {
        "general.type": "model",
        "general.file_type": _FILE_TYPES[quantization],
        "general.quantization_version": 2,
        **hyperparameters(config),
        **tokenizer_fields(folder, config.vocab_size),
    }
    replace_atomically(target, lambda path: _write(path, fields, tensors))


def write_gguf_adapter(adapter: Path, base: Path, target: Path) -> None:
    """Write a PEFT LoRA adapter of the model in `base` to `target` as llama.cpp loads it, whole or not at all.

    The matrices stay in float32. Raises Refusal for adapters that are more than LoRA on the blocks' matrices or the
    head, and for adapters that do not fit the base.
    """
    config = read_config(base)
    ours = {theirs: name for name, theirs in _names(config).items()}
    pairs = read_pairs(adapter, Weights(base), ours.keys())
    # llama.cpp scales by alpha / rank, with one alpha for all: what differs from the first pair's goes into B.
    alpha = pairs[0].scale * pairs[0].rank
    tensors: list[_Tensor] = []
    for pair in pairs:
        name, heads = ours[pair.source], _rotary_heads(config, pair.source)
        factor = pair.scale * pair.rank / alpha
        tensors.append(_Tensor(f"{name}.lora_a", pair.a.shape, "F32", lambda pair=pair: pair.a))
        tensors.append(_Tensor(f"{name}.lora_b", pair.b.shape, "F32", partial(_scaled, pair.b, factor, heads)))
    fields = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": float(alpha)}
    replace_atomically(target, lambda path: _write(path, fields, tensors))


def read_gguf_adapter(path: Path, base: Path, target: Path) -> None:
    """Write the GGUF adapter at `path`, one of the model in `base`, as a PEFT adapter: `write_gguf_adapter` undone."""
    write_pairs(_pairs(path, base), target)


def require_same_adapter(path: Path, adapter: Path, base: Path) -> None:
    """Refuse the GGUF adapter at `path`, by what is wrong with it, unless it adds to the base what `adapter` does."""
    require_same_pairs(read_pairs(adapter, Weights(base), _names(read_config(base)).values()), _pairs(path, base))


def _pairs(path: Path, base: Path) -> list[Pair]:
    """What the GGUF adapter at `path` adds to the model in `base`."""
    from gguf import GGUFReader

    config, names = read_config(base), _names(read_config(base))
    reader = GGUFReader(path)
    alpha = reader.fields["adapter.lora.alpha"].contents()
    found = {tensor.name: tensor.data.reshape([*reversed(tensor.shape.tolist())]) for tensor in reader.tensors}
    pairs: list[Pair] = []
    for name in (name.removesuffix(".lora_a") for name in found if name.endswith(".lora_a")):
        a, heads = found[f"{name}.lora_a"], _rotary_heads(config, names[name])
        b = found[f"{name}.lora_b"] if heads is None else unpermute(found[f"{name}.lora_b"], heads)
        pairs.append(Pair(names[name], a, b, alpha / len(a)))
    return pairs


def _scaled(rows: np.ndarray, factor: float, heads: int | None) -> np.ndarray:
    return _permuted(rows * factor, heads)


# ---- the tensors ----


def _names(config: Any) -> dict[str, str]:
    """The tensors that the model's file holds, by their names there, and what they are called in a folder."""
    names = tensor_names(config.num_hidden_layers)
    return {ours: theirs for ours, theirs in names.items() if ours != "output.weight" or not config.tie_word_embeddings}


def _require_complete(config: Any, weights: Weights) -> None:
    """Refuse a folder with weights that a plain llama model has not; what it lacks is refused when it is asked for."""
    known = {*_names(config).values(), "lm_head.weight"}  # a tied head may be stored, too
    surplus = [name for name in weights.names() if name not in known and not name.endswith(_ROTARY_BUFFER)]
    if surplus:
        raise Refusal(
            f"{weights.folder} holds the weights {surplus[0]}, for which a GGUF file of the llama family has no place; "
            "export safetensors."
        )
    rows = weights.shape("model.embed_tokens.weight")[0]
    if rows != config.vocab_size:
        raise Refusal(
            f"{weights.folder}: the embedding has {rows} rows, config.json says {config.vocab_size}; mend that."
        )


def _matrix(weights: Weights, name: str, source: str, config: Any, quantization: Quantization) -> _Tensor:
    shape = weights.shape(source)
    heads = _rotary_heads(config, source)
    return _Tensor(name, shape, _kind(name, shape, quantization), lambda: _permuted(weights.read(source), heads))


def _kind(name: str, shape: Sequence[int], quantization: Quantization) -> str:
    if len(shape) == 1:
        return "F32"
    if quantization == "f16" or shape[-1] % _SCALED:
        return "F16"
    return "Q8_0" if quantization == "q4_0" and name in _TABLES else quantization.upper()


def _rotary_heads(config: Any, source: str) -> int | None:
    """The heads of a query or key matrix; None for all others."""
    if source.endswith("q_proj.weight"):
        return config.num_attention_heads
    return config.num_key_value_heads if source.endswith("k_proj.weight") else None


def _permuted(rows: np.ndarray, heads: int | None) -> np.ndarray:
    """Interleave the two rotary halves of each head, as llama.cpp wants them; (heads * d, width) both ways."""
    import numpy as np

    if heads is None:
        return rows
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


# ---- the file ----


def _write(path: Path, fields: Mapping[str, Any], tensors: Sequence[_Tensor]) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quant_shape_to_byte_shape

    writer = GGUFWriter(path, "llama")
    try:
        for key, value in fields.items():
            _add(writer, key, value)
        for tensor in tensors:
            kind = GGMLQuantizationType[tensor.kind]
            size = quant_shape_to_byte_shape(tensor.shape, kind)
            writer.add_tensor_info(tensor.name, size, np.dtype(np.uint8), math.prod(size), kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        with ThreadPoolExecutor(count_cores()) as threads:
            for tensor in tensors:
                writer.write_tensor_data(_encoded(tensor, threads))
    except OSError as error:
        if error.errno is None:  # NumPy tells how much it could not write, and not why
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        writer.close()


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    add.get(type(value), writer.add_array)(key, value)


def _encoded(tensor: _Tensor, threads: ThreadPoolExecutor) -> np.ndarray:
    """The bytes of a tensor as they are stored; raises Refusal for numbers that its format has no room for."""
    import numpy as np
    from gguf import GGMLQuantizationType, quantize

    kind = GGMLQuantizationType[tensor.kind]

    def encode(values: np.ndarray) -> np.ndarray:
        _require_room(values, tensor)
        row = math.gcd(values.size, _ROW) if tensor.kind.startswith("Q") else values.size
        return quantize(values.reshape(-1, row), kind).reshape(-1).view(np.uint8)

    values = np.ascontiguousarray(tensor.read(), dtype=np.float32).reshape(-1)
    starts = range(0, values.size, _CHUNK)
    return np.concatenate([*threads.map(encode, (values[start : start + _CHUNK] for start in starts))])


def _require_room(values: np.ndarray, tensor: _Tensor) -> None:
    import numpy as np

    bounds = [abs(float(bound)) for bound in (values.min(), values.max())]
    if not all(map(math.isfinite, bounds)):
        raise Refusal(f"the weights of {tensor.name} hold numbers that are not finite; the model is broken.")
    largest = float(np.finfo(np.float16).max)
    if tensor.kind != "F32" and max(bounds) > largest:
        raise Refusal(
            f"the weights of {tensor.name} hold {max(bounds):g}, beyond the {largest:g} of 16 bits; export safetensors."
        )
