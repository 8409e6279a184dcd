"""`carrara serve`: an endpoint that any OpenAI client can use."""

from __future__ import annotations

from typing import Annotated

import typer

from carrara.cli.console import make_progress
from carrara.cli.options import WorkspaceOption


def serve_command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL|RUN…", help="What to serve, under these names.")],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at; 0 takes a free one.")] = 8800,
    key: Annotated[
        str | None, typer.Option(envvar="CARRARA_KEY", help="The key clients must send; a random one by default.")
    ] = None,
    role: Annotated[str | None, typer.Option(help="System prompt of conversations that bring none.")] = None,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Answer at /v1/chat/completions, as OpenAI's clients expect it; for this machine only, unless --host says more."""
    import secrets

    from carrara.errors import Refusal
    from carrara.models import resolve_model
    from carrara.serve.server import listen, serve, url_of
    from carrara.workspace import open_workspace

    if dtype not in ("auto", "float32", "bfloat16"):
        raise Refusal(f"there is no dtype '{dtype}'; use auto, float32 or bfloat16.")
    progress = make_progress()
    given = key is not None
    key = secrets.token_urlsafe(32) if key is None else key
    with listen(host, port) as listener:  # before the models are loaded, which takes time
        store = open_workspace(workspace)
        resolved = {reference: resolve_model(store, reference, progress) for reference in models}

        from carrara.serve.gateway import build_app
        from carrara.serve.transformers_engine import load_engine

        app = build_app(load_engine(resolved, dtype), key, host=host, role=role)
        progress.say(f"serving {', '.join(resolved)} at {url_of(listener)}")
        if not given:
            progress.say(f"key: {key}")
        serve(app, listener)
