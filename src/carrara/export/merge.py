"""A tuned model as one Hugging Face folder: the adapter's changes written into the base's weights.

Each weight is changed in float32, by PEFT's own rule for its kind of adapter, and rounded once, to the number format
in which the base is stored.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.export.weights import Weights
from carrara.models import Model
from carrara.models.load import load_model, stored_dtype, tokenizer_folder
from carrara.models.sources import MODEL_FILES, TOKENIZER_FILES
from carrara.tune.methods.moving_on import go_on

_MERGED = ("LORA", "IA3")
_TABLES = ("embed_tokens", "lm_head")


def merge(model: Model, folder: Path) -> None:
    """Fill `folder` with the model's weights, configuration, tokenizer, chat template and generation settings.

    A model without an adapter is copied. Raises Refusal for an adapter that cannot be written into weights.
    """
    require_written_out(model)
    if model.adapter is None:
        for path in sorted(model.path.iterdir()):
            if path.name in MODEL_FILES or path.name.endswith((".safetensors", ".safetensors.index.json")):
                shutil.copyfile(path, folder / path.name)
        return
    require_mergeable(model.adapter, model)
    network = _merged(model)
    model.require_unchanged()
    network.save_pretrained(folder, safe_serialization=True)
    for source, names in ((tokenizer_folder(model), TOKENIZER_FILES), (model.path, ("generation_config.json",))):
        for name in names:
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)


def require_written_out(model: Model) -> None:
    """Refuse a model that writes nothing, or whose base was rounded to 4 bits while it was tuned and scored."""
    if model.is_embedder:
        raise Refusal(f"{model.name} turns texts into vectors and writes none; there is nothing to export.")
    if model.four_bit:
        raise Refusal(
            f"{model.name} was tuned and scored on a base in 4 bits; on the base as it is it would answer otherwise. "
            "Export --to adapter, and load it on the base in 4 bits."
        )


def require_mergeable(adapter: Path, model: Model) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    if config.get("peft_type") not in _MERGED:
        raise Refusal(
            f"{model.name} is an adapter of the kind {config.get('peft_type')}, which is not written into weights; "
            "export --to adapter."
        )
    base = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    changed = {name.split(".lora_")[0].rpartition(".")[2] for name in Weights(adapter).names() if ".lora_" in name}
    if base.get("tie_word_embeddings") and (tables := sorted(changed & {*_TABLES})):
        raise Refusal(
            f"{model.name} changes {tables[0]}, which embedding and head share; merged it would change both. "
            "Export --to adapter."
        )


def _merged(model: Model) -> Any:
    """The network with the adapter merged, in the number format of the base."""
    import torch

    stored = stored_dtype(model.path) or torch.float32  # the widest, where they differ
    # An adapter is loaded in the precision of the network; then its own numbers are read into it again.
    exact = "bfloat16" if stored == torch.bfloat16 else "float32"
    network = go_on(load_model(model, exact, torch.device("cpu")))
    from peft.tuners.tuners_utils import BaseTunerLayer  # only now, as loading takes care of what PEFT imports

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* already merged")
        for layer in [module for module in network.modules() if isinstance(module, BaseTunerLayer)]:
            weight: Any = layer.get_base_layer().weight
            before = weight.dtype
            weight.data = weight.data.float()
            layer.merge()
            weight.data = weight.data.to(before)
        network = network.merge_and_unload()
    return network.to(stored)
