"""Adapters of one base on one network: each loaded once, switched on one at a time, never merged."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from carrara.errors import Refusal, one_line
from carrara.models.four_bit import import_bitsandbytes
from carrara.models.load import Loaded, load_any, load_model, load_tokenizer, settle, tokenizer_folder
from carrara.models.machine import prepare_for_heavy_work
from carrara.models.model import Model
from carrara.models.sources import TOKENIZER_FILES
from carrara.workspace import digest_of_file, digest_of_value

_FIRST = "default"  # the name under which load_model loads an adapter
# What may differ between adapters that live on one network; anything else could touch the base's own weights.
_SHAREABLE_SETTINGS = frozenset(
    {
        "peft_type",
        "task_type",
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "peft_version",
        "inference_mode",
        "r",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "exclude_modules",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "layers_pattern",
        "fan_in_fan_out",
        "use_rslora",
        "use_dora",
        "init_lora_weights",
    }
)


@dataclass(frozen=True)
class Adapted:
    """A model on a network that others may share, and the name of its adapter there; None where it has none."""

    loaded: Loaded
    adapter: str | None


def load_together(models: Sequence[Model], dtype: str = "auto", embedders: bool = False) -> list[Adapted]:
    """Load models, in order, with one network for all that may share it; raises Refusal for one that does not load.

    Embedders are refused unless `embedders` says that they are of use. Models of one network whose tokenizer files are
    the same have the same tokenizer object, too. What the network computes is as if each had been loaded alone, while
    it is `switched_on`.
    """
    found: dict[int, Adapted] = {}
    for places in by_network(models):
        found.update(zip(places, _load_group([models[place] for place in places], dtype, embedders), strict=True))
    return [found[place] for place in range(len(models))]


@contextmanager
def switched_on(adapted: Adapted) -> Iterator[Loaded]:
    """Switch on the model's adapter and no other. Always set anew, so that nobody relies on who was asked before."""
    network = adapted.loaded.network
    if not hasattr(network, "peft_config"):
        yield adapted.loaded
    elif adapted.adapter is None:
        with network.disable_adapter():
            yield adapted.loaded
    else:
        network.set_adapter(adapted.adapter, inference_mode=True)
        yield adapted.loaded


def by_network(models: Sequence[Model]) -> list[list[int]]:
    """The places of the models, those together that may share a network."""
    groups: dict[str, list[int]] = {}
    for place, model in enumerate(models):
        base = f"{model.digest} in 4 bits" if model.four_bit else model.digest
        alone = model.adapter is not None and not _can_share(model.adapter)
        groups.setdefault(f"{base}+{model.adapter_digest}" if alone else base, []).append(place)
    return [*groups.values()]


def _can_share(adapter: Path) -> bool:
    """Whether an adapter is plain LoRA, which leaves the base's weights alone when it is loaded and switched off."""
    prepare_for_heavy_work()  # as load_model does before it imports the same
    import_bitsandbytes()
    from peft import LoraConfig, PeftConfig

    try:
        config = PeftConfig.from_pretrained(str(adapter), local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise Refusal(f"{adapter / 'adapter_config.json'} is no PEFT configuration: {error}") from error
    if not isinstance(config, LoraConfig) or config.init_lora_weights not in (True, False, "gaussian"):
        return False
    usual = LoraConfig().to_dict()
    changed = {key for key, value in config.to_dict().items() if value != usual.get(key)}
    # PEFT may have saved whole embeddings beside LoRA's matrices, without a word in the configuration.
    return changed <= _SHAREABLE_SETTINGS and all(".lora_" in key for key in _stored(adapter))


def _load_group(models: Sequence[Model], dtype: str, embedders: bool) -> list[Adapted]:
    """Load one network with all adapters of the models, which may share it."""
    first = next((model for model in models if model.adapter), models[0])
    loaded = (load_any if embedders else load_model)(first, dtype)
    names: dict[str | None, str | None] = {None: None, first.adapter_digest: _FIRST if first.adapter else None}
    tokenizers: dict[str, Any] = {_tokenizer_digest(first): loaded.tokenizer}
    found: list[Adapted] = []
    for model in models:
        if model.adapter_digest not in names:
            names[model.adapter_digest] = _add_adapter(loaded, model)
        digest = _tokenizer_digest(model)
        if digest not in tokenizers:
            tokenizers[digest] = load_tokenizer(model)
        own = replace(loaded, model=model, tokenizer=tokenizers[digest])
        found.append(Adapted(own, names[model.adapter_digest]))
    return found


def _tokenizer_digest(model: Model) -> str:
    folder = tokenizer_folder(model)
    return digest_of_value(
        {name: digest_of_file(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}
    )


def _add_adapter(loaded: Loaded, model: Model) -> str:
    """Load a further adapter beside the first one, as load_model would; gives its name in the network."""
    from peft import get_peft_model_state_dict

    assert model.adapter is not None
    name, network, misfit = str(model.adapter_digest), loaded.network, f"the adapter {model.adapter} does not fit"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below
            network.load_adapter(str(model.adapter), name, torch_device=str(loaded.device), local_files_only=True)
    except (ValueError, OSError, RuntimeError, KeyError, TypeError) as error:
        raise Refusal(f"{misfit} {model.path}: {one_line(error)}") from error
    expected = set(get_peft_model_state_dict(network, adapter_name=name, save_embedding_layers=False))
    if wrong := sorted(expected ^ set(_stored(model.adapter))):
        raise Refusal(f"{misfit} {model.path}: {wrong[0]} is in only one of them.")
    network.eval()
    settle(network, loaded.dtype)
    return name


def _stored(adapter: Path) -> list[str]:
    """The names of the weights that an adapter holds."""
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", framework="numpy") as file:
        return list(file.keys())
