"""`carrara export`: a model or a run as files that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption

_TO = "safetensors (merged, with a card), adapter (as PEFT reads it), gguf (merged), gguf-adapter, or ollama."


def export_command(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="What to export.")],
    to: Annotated[str, typer.Option(metavar="FORM", help=_TO)],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="A folder that is new or empty.")],
    quantization: Annotated[
        str | None, typer.Option(help="Numbers of gguf and ollama: f16, q8_0 (as if none is named) or q4_0.")
    ] = None,
    unexamined: Annotated[
        bool, typer.Option(help="Do not compare the package with the model, which takes the memory of both.")
    ] = False,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a tuned model so that other programs answer as it was scored: Transformers, llama.cpp, Ollama."""
    from carrara.errors import Refusal
    from carrara.export.gguf import QUANTIZATIONS
    from carrara.export.package import QUANTIZED, TARGETS, export_model
    from carrara.models import resolve_model
    from carrara.workspace import open_workspace, user_path

    if to not in TARGETS:
        raise Refusal(f"there is no form '{to}'; --to takes {', '.join(TARGETS)}.")
    if quantization is not None and to not in QUANTIZED:
        raise Refusal(f"--quantization does nothing with --to {to}; it is for {' and '.join(QUANTIZED)}.")
    if quantization not in (None, *QUANTIZATIONS):
        raise Refusal(f"there is no quantization '{quantization}'; it is one of {', '.join(QUANTIZATIONS)}.")
    store, progress = open_workspace(workspace), make_progress()
    resolved = resolve_model(store, model, progress)
    out = user_path(str(output))
    package = export_model(store, resolved, to, quantization or "q8_0", out, progress, not unexamined)
    if json:
        print_json(package.to_json())
        return
    if package.passport:
        rows = [
            [check.name, f"{check.value:.4g}", f"{check.bound:.4g}", check.basis, check.word]
            for check in package.passport.checks
        ]
        print_table(["passport", "value", "bound", "of", ""], rows)
        for sentence in package.passport.missing:
            print_line(sentence)
    for name in package.files:
        print_line(str(package.folder / name))
