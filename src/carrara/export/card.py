"""The card of an exported model: what it is, what it was made from, and how to load it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from carrara.models import Model, read_catalogue
from carrara.tune.account import ancestors
from carrara.tune.run import Run
from carrara.wording import line
from carrara.workspace import Artefact, Workspace, write_atomically

_MARKS = re.compile(r"([\\`*_\[\]<>|~])")  # what Markdown would take for more than text
_LOADING = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/of/this/folder", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("path/of/this/folder")
```"""


def write_card(path: Path, workspace: Workspace, model: Model) -> None:
    """Write the card to `path`, which the hub wants to be named README.md, whole or not at all."""
    write_atomically(path, model_card(workspace, model).encode("utf-8", errors="replace"))


def model_card(workspace: Workspace, model: Model) -> str:
    """The card in Markdown, its metadata in front as YAML in the hub's form.

    Of paths only the last part is told, since a card is for others, and of the data its name and size.
    """
    from huggingface_hub import ModelCardData

    is_run = model.source.kind == "run"
    lineage = [model.source, *(ancestors(workspace, Run(model.source)) if is_run else [])]
    entry = read_catalogue().get(lineage[-1].name)
    method = _method(model)
    data = ModelCardData(
        base_model=entry.hub if entry else None,
        language=list(entry.languages) if entry and entry.languages else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["carrara", *([method] if method else [])],
    )
    base = _told(lineage[-1])
    parts = [
        f"# {_told(lineage[0])}",
        f"{base}, tuned with the method {method}." if method else f"{base}, as it was fetched.",
        *([_data(workspace, model.source)] if is_run else []),
        *([f"The licence of {base} is {entry.licence.name}; its duties stay with this model."] if entry else []),
        "## How to load it",
        _LOADING,
        "## Lineage",
        _lineage(lineage, model),
        "Written by Carrara.",
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _method(model: Model) -> str | None:
    """How the model was tuned; None for one that was not."""
    if method := model.source.summary.get("method"):
        return str(method)
    if model.adapter is None:
        return None
    config = json.loads((model.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    return line(str(config.get("peft_type"))).lower()


def _data(workspace: Workspace, run: Artefact) -> str:
    dataset = workspace.get(run.inputs["dataset"])
    return f"It learned from {_told(dataset)}: {dataset.summary['splits']['train']:,} rows."


def _lineage(lineage: Sequence[Artefact], model: Model) -> str:
    rows = [f"| {each.reference} | {_told(each)} | `{each.digest}` |" for each in lineage]
    if model.adapter_digest:
        rows.insert(0, f"| the adapter merged here | | `{model.adapter_digest}` |")
    return "\n".join(["| made from | name | sha256 |", "| --- | --- | --- |", *rows])


def _told(artefact: Artefact) -> str:
    """An artefact's name as text; of a path its last part."""
    name = line(artefact.name)
    return _MARKS.sub(r"\\\1", re.split(r"[/\\]", name.rstrip("/\\"))[-1])
