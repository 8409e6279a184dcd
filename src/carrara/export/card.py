"""The card of an exported model: what it is, what it was made from, and how to load it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from carrara.models import Model, read_catalogue
from carrara.models.load import tokenizer_folder
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

_LOADING_ADAPTER = """\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto")
model = PeftModel.from_pretrained(base, "path/of/this/folder")
tokenizer = AutoTokenizer.from_pretrained("{tokenizer}")
```

The adapter belongs to {base} alone: `carrara models pull` prints the digest `{digest}` for that base, and \
`sha256sum` these for its weights. On others it is another model.

| weights of the base | sha256 |
| --- | --- |
{weights}"""


def write_card(path: Path, workspace: Workspace, model: Model, merged: bool = True) -> None:
    """Write the card to `path`, which the hub wants to be named README.md, whole or not at all."""
    write_atomically(path, model_card(workspace, model, merged).encode("utf-8", errors="replace"))


def base_name(workspace: Workspace, model: Model) -> str:
    """What others know the base of an adapter by: its repository, its catalogue name, or the last part of a path."""
    base = next((each for each in _lineage_of(workspace, model) if each.path == model.path), model.source)
    entry = read_catalogue().get(base.name)
    if entry:
        return entry.hub or entry.name
    if base.name.startswith("hub:"):
        return base.name.removeprefix("hub:").partition("@")[0]
    return _last_part(base)


def model_card(workspace: Workspace, model: Model, merged: bool = True) -> str:
    """The card in Markdown, its metadata in front as YAML in the hub's form.

    Of paths only the last part is told, since a card is for others, and of the data its name and size. Unless the
    model is `merged`, the card is that of its adapter.
    """
    from huggingface_hub import ModelCardData

    is_run = model.source.kind == "run"
    lineage = _lineage_of(workspace, model)
    entry = read_catalogue().get(lineage[-1].name)
    method = _method(model)
    data = ModelCardData(
        base_model=entry.hub if entry else None,
        language=list(entry.languages) if entry and entry.languages else None,
        library_name="transformers" if merged else "peft",
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
        _LOADING if merged else _loading_adapter(workspace, model),
        "## Lineage",
        _lineage(lineage, model, merged),
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


def _loading_adapter(workspace: Workspace, model: Model) -> str:
    base, is_own = base_name(workspace, model), tokenizer_folder(model) == model.adapter
    tokenizer = "path/of/this/folder" if is_own else base
    files = sorted(model.path.glob("*.safetensors"))
    weights = "\n".join(f"| {path.name} | `{workspace.digest(path)}` |" for path in files)
    return _LOADING_ADAPTER.format(base=base, tokenizer=tokenizer, digest=model.digest, weights=weights)


def _lineage_of(workspace: Workspace, model: Model) -> list[Artefact]:
    """What the model came from, the nearest first."""
    return [model.source, *(ancestors(workspace, Run(model.source)) if model.source.kind == "run" else [])]


def _lineage(lineage: Sequence[Artefact], model: Model, merged: bool) -> str:
    rows = [f"| {each.reference} | {_told(each)} | `{each.digest}` |" for each in lineage]
    if model.adapter_digest:
        what = "the adapter merged here" if merged else "the adapter as it was tuned"
        rows.insert(0, f"| {what} | | `{model.adapter_digest}` |")
    return "\n".join(["| made from | name | sha256 |", "| --- | --- | --- |", *rows])


def _told(artefact: Artefact) -> str:
    """An artefact's name as text; of a path its last part."""
    return _MARKS.sub(r"\\\1", _last_part(artefact))


def _last_part(artefact: Artefact) -> str:
    return re.split(r"[/\\]", line(artefact.name).rstrip("/\\"))[-1]
