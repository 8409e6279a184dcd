"""A package, read back from its files and examined."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.export.checks.check import Form
from carrara.export.gguf import read_gguf_adapter
from carrara.export.passport import Passport, check_all_but_weights, examine, require
from carrara.models import Model
from carrara.models.forward import decoder_of
from carrara.models.gguf import convert_gguf
from carrara.models.load import Loaded, load_model, load_tokenizer
from carrara.models.machine import inspect_machine
from carrara.models.shape import shape_in
from carrara.progress import Progress
from carrara.workspace import Workspace

Kind = Literal["folder", "adapter", "gguf", "gguf-adapter"]

_TEXTS = 8  # held-out rows that are read
_TEXT = 1500  # characters of each
_SPARE = 1 << 30  # bytes for what is neither of the two networks


def examine_package(
    workspace: Workspace, model: Model, kind: Kind, path: Path, form: Form, progress: Progress
) -> Passport:
    """The passport of what lies at `path`: a folder, a PEFT adapter, a GGUF file or a GGUF adapter.

    Both models are held in float32, in the processor's memory; see `require_memory`.
    """
    import torch

    # Whoever serves need not wait for what this imports.
    from carrara.export.sample import NOTHING, SCORE, find_samples, score_sample

    device = None if model.four_bit else torch.device("cpu")
    with tempfile.TemporaryDirectory(prefix=".examined.", dir=path.parent) as name:
        exported = load_model(_read_back(model, kind, path, Path(name)), "float32", device)
        scored = load_model(model, "float32", device)
        more = score_sample(find_samples(workspace, model, progress), scored, exported, form, progress)
        passport = examine(scored, exported, form, _held_out(workspace, model), progress, more)
        is_told = not passport.holds or any(check.name.startswith(SCORE) for check in passport.checks)
        return passport if is_told else replace(passport, missing=(NOTHING,))


def require_same_settings(model: Model, path: Path) -> None:
    """Refuse the GGUF file at `path`, by the step that broke it, unless it reads and computes as the model says.

    Tokens, rendered chats, ends, sizes and the turning of positions are compared, and no weights, which takes a second.
    """
    with tempfile.TemporaryDirectory(prefix=".examined.", dir=path.parent) as name:
        convert_gguf(path, Path(name), weights=False)
        exported = replace(model, path=Path(name), adapter=None, adapter_digest=None)
        require(Passport(tuple(check_all_but_weights(_bare(model), _bare(exported), ()))))


def _read_back(model: Model, kind: Kind, path: Path, scratch: Path) -> Model:
    if kind == "adapter":
        return replace(model, adapter=path)
    if kind == "gguf-adapter":
        read_gguf_adapter(path, model.path, scratch)
        return replace(model, adapter=scratch)
    if kind == "gguf":
        convert_gguf(path, scratch)
        path = scratch
    return replace(model, path=path, adapter=None, adapter_digest=None)


def _held_out(workspace: Workspace, model: Model) -> Sequence[str]:
    """Rows that the model has not learned from; none where it is no run of this workspace."""
    if "dataset" not in model.source.inputs:
        return ()
    rows = Dataset(workspace.get(model.source.inputs["dataset"])).each("test")
    return ["\n".join(row.texts)[:_TEXT] for row in itertools.islice(rows, _TEXTS)]


def _bare(model: Model) -> Loaded:
    """The model without the values of its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    config = AutoConfig.from_pretrained(model.path, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        network: Any = AutoModelForCausalLM.from_config(config)
    rotary = decoder_of(network).rotary_emb
    decoder_of(network).rotary_emb = type(rotary)(config)  # whose values are no weights
    if (model.path / "generation_config.json").is_file():
        network.generation_config = GenerationConfig.from_pretrained(model.path, local_files_only=True)
    return Loaded(model, network, load_tokenizer(model), torch.device("cpu"), torch.float32)


def require_memory(model: Model) -> None:
    """Raise Refusal where there is no memory for two of the model in float32."""
    _, parameters = shape_in(model.path)
    needed, free = 2 * 4 * parameters + _SPARE, inspect_machine().memory_free
    if needed > free:
        raise Refusal(
            f"examining {model.name} takes about {needed / 1e9:.0f} GB of memory, and {free / 1e9:.0f} GB are free; "
            "export it on a machine that has them, or with --unexamined."
        )
