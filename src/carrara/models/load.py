"""The one place that turns a model's folder into a network and a tokenizer."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal, one_line
from carrara.models.forward import virtual_tokens
from carrara.models.four_bit import compute_as_in_training, four_bit_settings, import_bitsandbytes
from carrara.models.machine import (
    choose_device,
    choose_dtype,
    give_back_memory,
    give_back_pages,
    prepare_for_heavy_work,
)
from carrara.models.model import Model
from carrara.models.sources import holds_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_EMBEDDINGS = ("embed_tokens.weight", "lm_head.weight")
_PROMPTS = ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING")  # whose virtual tokens `forward` puts in front


@dataclass(frozen=True)
class Loaded:
    """A network in evaluation mode on its device, with its tokenizer. `network` may be a PEFT model."""

    model: Model
    network: Any
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype

    @property
    def context(self) -> int:
        """The most tokens of a text that the model can hold at once."""
        return context_of(self.model) - virtual_tokens(self.network)

    @property
    def window(self) -> int | None:
        """The sliding attention window of a text's tokens, if the model has one."""
        window = window_of(self.model)
        return window - virtual_tokens(self.network) if window else None


def load_model(model: Model, dtype: str = "auto", device: torch.device | None = None) -> Loaded:
    """Load weights (and the adapter, un-merged, if the model has one); raises Refusal if they do not fit together.

    An embedder is refused, since it writes nothing.
    """
    if model.is_embedder:
        raise Refusal(f"{model.name} turns texts into vectors and writes none; `carrara evaluate` can ask it stsb.")
    return load_any(model, dtype, device)


def load_any(model: Model, dtype: str = "auto", device: torch.device | None = None) -> Loaded:
    """As `load_model`, but embedders are loaded as well: a network without a head."""
    prepare_for_heavy_work()
    if model.four_bit or model.adapter:
        import_bitsandbytes()
    precision = choose_dtype(dtype)
    device = device or choose_device()
    network = _load_base(model, precision, device)
    settle(network, precision)
    if model.adapter:
        network = _with_adapter(network, model.path, model.adapter)
        settle(network, precision)
    network.to(device).eval()
    tokenizer = load_tokenizer(model)
    give_back_memory()  # what only loading needed
    return Loaded(model, network, tokenizer, device, precision)


def settle(network: Any, precision: torch.dtype) -> None:
    """Freeze all weights, in one precision; those in 4 bits stay so."""
    for parameter in network.parameters():  # not network.to(dtype), which would round the rotary frequencies too
        parameter.requires_grad_(False)
        if parameter.is_floating_point() and parameter.dtype != precision:
            stored, parameter.data = parameter.data, parameter.data.to(precision)
            give_back_pages(stored)


def _load_base(model: Model, precision: torch.dtype, device: torch.device) -> Any:
    from transformers import AutoModel, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    loader: Any = AutoModel if model.is_embedder else AutoModelForCausalLM
    settings: dict[str, Any] = {"dtype": precision}
    if model.four_bit:
        settings |= {"quantization_config": four_bit_settings(precision), "device_map": {"": device}}
    else:
        settings["dtype"] = stored_dtype(model.path) or precision  # so that nothing is copied; `settle` rounds it
    try:
        network, report = loader.from_pretrained(
            model.path,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
            **settings,
        )
    except MemoryError:
        raise
    except Exception as error:  # transformers raises what it likes on files that are no model
        raise Refusal(f"{model.path} cannot be loaded as {_kind_of(model)}: {one_line(error)}") from error
    _check_weights(report, model.path)
    compute_as_in_training(network)
    return network


def stored_dtype(folder: Path) -> torch.dtype | None:
    """The number format in which all weights of a folder are stored; None if they differ or it is an unusual one."""
    import torch
    from safetensors import safe_open

    known = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    stored: set[torch.dtype | None] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            stored |= {known.get(file.get_slice(key).get_dtype()) for key in file.keys()}  # noqa: SIM118
    return stored.pop() if len(stored) == 1 else None


def _kind_of(model: Model) -> str:
    return "an embedder" if model.is_embedder else "a causal language model"


def window_of(model: Model) -> int | None:
    """The model's sliding attention window in tokens, None if a token sees the whole context."""
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    window = config.get("sliding_window")
    slides = window and config.get("use_sliding_window", True) and int(window) < context_of(model)
    return int(window) if slides else None


def _check_weights(report: Mapping[str, Any], path: Path) -> None:
    """Refuse a model whose files lack weights, which would otherwise be filled with random numbers."""
    missing = sorted(report["missing_keys"])
    mismatched = sorted(key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"])
    for keys, what in ((missing, "lacks the weights"), (mismatched, "holds another size than its config.json of")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise Refusal(f"{path} {what} {keys[0]}{more}; fetch the model again.")


def context_of(model: Model) -> int:
    """The most tokens the model can hold at once, as its configuration says; 2048 where it is silent."""
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings") or 2048)


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The model's tokenizer: its adapter's, where that brings one, else its base's."""
    return tokenizer_in(tokenizer_folder(model))


def tokenizer_folder(model: Model) -> Path:
    """The folder that holds the model's tokenizer."""
    return model.adapter if model.adapter and holds_tokenizer(model.adapter) else model.path


def tokenizer_in(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that a model's folder holds; it warns of no text that is too long, since each caller counts."""
    try:
        tokenizer = _load_tokenizer(folder)
    except Exception as error:  # bare ones among them
        raise Refusal(f"{folder}: the tokenizer cannot be loaded: {one_line(error)}") from error
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True  # as if said already
    return tokenizer


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    if _is_plain(folder):  # AutoTokenizer would give the same, and import torch and every configuration for it
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _is_plain(folder: Path) -> bool:
    """Whether a LLaMA model's tokenizer is what its tokenizer.json says, and no class of its own is named."""
    if not all((folder / name).is_file() for name in ("config.json", "tokenizer.json", "tokenizer_config.json")):
        return False
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    named = settings.get("tokenizer_class")
    return kind == "llama" and named in ("PreTrainedTokenizerFast", "TokenizersBackend") and "auto_map" not in settings


def _with_adapter(network: Any, base: Path, adapter: Path) -> Any:
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", framework="numpy") as file:
        stored = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118  # it is no mapping
    try:
        config = PeftConfig.from_pretrained(str(adapter), local_files_only=True)
        if config.is_prompt_learning and config.peft_type not in _PROMPTS:
            raise ValueError(f"adapters of the type {config.peft_type} are not supported")
        make_room(network, _vocabulary(config, stored))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below
            adapted = PeftModel.from_pretrained(network, adapter, local_files_only=True)
    except (ValueError, OSError, RuntimeError, KeyError, TypeError) as error:
        raise Refusal(f"the adapter {adapter} does not fit {base}: {one_line(error)}") from error
    expected = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    surplus = {key for key in set(stored) - expected if not key.endswith(_EMBEDDINGS)}  # PEFT puts whole embeddings in
    if wrong := sorted((expected - set(stored)) | surplus):
        raise Refusal(f"the adapter {adapter} does not fit {base}: {wrong[0]} is in only one of them.")
    return adapted


def _vocabulary(config: Any, stored: Mapping[str, Sequence[int]]) -> int:
    """The rows of the embedding that an adapter needs: of the one it holds, or of the tokens that it has learned."""
    rows = [shape[0] for key, shape in stored.items() if key.endswith(_EMBEDDINGS)]
    learned = getattr(config, "trainable_token_indices", None) or []
    indices = learned if isinstance(learned, list) else [index for part in learned.values() for index in part]
    return max([*rows, *(index + 1 for index in indices)], default=0)


def make_room(network: Any, rows: int) -> None:
    """Let embedding and head hold at least `rows` tokens; rows that come in addition are zero."""
    import torch

    before = network.get_input_embeddings().weight.shape[0]
    if rows <= before:
        return
    network.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for module in (network.get_input_embeddings(), network.get_output_embeddings()):
            module.weight[before:] = 0
