"""The shape of a model: from the catalogue if it is listed, else from the configuration of the model at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.models.catalogue import EMBEDDERS, Shape
from carrara.models.model import resolve_model
from carrara.models.reference import parse_reference
from carrara.progress import Progress
from carrara.workspace import Workspace


def shape_of(workspace: Workspace, text: str, progress: Progress) -> tuple[Shape, int]:
    """Shape and number of parameters of a model; nothing is fetched for one that the catalogue lists."""
    reference = parse_reference(text)
    if reference.entry and reference.entry.architecture in EMBEDDERS:
        raise Refusal(f"{text} is an embedder, which is not tuned; plan a model that writes.")
    if reference.entry:
        return reference.entry.shape, reference.entry.parameters
    return shape_in(resolve_model(workspace, text, progress).path)


def shape_in(folder: Path) -> tuple[Shape, int]:
    """Shape and number of parameters of the model in a folder."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return _shape(config, str(folder)), _count_parameters(folder)


def _shape(config: dict[str, Any], text: str) -> Shape:
    try:
        width, heads = config["hidden_size"], config["num_attention_heads"]
        return Shape(
            layers=config["num_hidden_layers"],
            width=width,
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_width=config.get("head_dim") or width // heads,
            feed_forward=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as error:
        raise Refusal(
            f"the configuration of '{text}' lacks {error}; only LLaMA-like decoders can be planned."
        ) from error


def _count_parameters(folder: Path) -> int:
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  # a safetensors handle is no mapping
                size = 1
                for length in file.get_slice(name).get_shape():
                    size *= length
                total += size
    return total
