"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorkspaceOption = Annotated[
    Path | None, typer.Option("--workspace", help="Where results are kept (else CARRARA_WORKSPACE, else ~/.carrara).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME[=URL]",
        help="Who computes: auto (llama.cpp on a processor), llamacpp, transformers, or the server at openai=URL or "
        "vllm=URL (key: CARRARA_ENGINE_KEY); vllm alone tells how to start one.",
    ),
]
NumbersOption = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="Numbers to compute with: f16, q8_0 or q4_0 (llama.cpp), float32 or bfloat16 (transformers), or auto.",
    ),
]
BenchmarksOption = Annotated[
    Path | None, typer.Option("--benchmarks", help="Folder of benchmark files (else CARRARA_BENCHMARKS, else fetched).")
]
