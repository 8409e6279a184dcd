"""`carrara serve`: an endpoint that any OpenAI client can use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carrara.cli.console import make_progress
from carrara.cli.options import EngineOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.serve.keys import Keys
    from carrara.serve.server import Tls
    from carrara.workspace import Workspace

_SIDE_BY_SIDE = 4  # requests that an engine is given at once; one that answers them in turn lets the others wait


def serve_command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL|RUN…", help="What to serve, under these names.")],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at; 0 takes a free one.")] = 8800,
    key: Annotated[
        str | None,
        typer.Option(
            envvar="CARRARA_KEY", help="The key clients must send; else those of `carrara keys`, else a random one."
        ),
    ] = None,
    role: Annotated[
        str | None, typer.Option(metavar="NAME|TEXT", help="Role of conversations that bring no system prompt.")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Pages of this origin may ask; can be given again.")
    ] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Most requests a minute with one key.")] = None,
    at_once: Annotated[int | None, typer.Option(min=1, help="Most requests under way with one key.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM) to speak HTTPS with.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    json_logs: Annotated[bool, typer.Option(help="A line of JSON on stderr for each request.")] = False,
    audit_contents: Annotated[
        bool, typer.Option(help="The audit log keeps what was asked and said, too, and not only who and how much.")
    ] = False,
    engine: EngineOption = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16; of the engine transformers.")] = "auto",
    workspace: WorkspaceOption = None,
) -> None:
    """Answer as OpenAI's clients expect it; for this machine only, unless --host says more."""
    from carrara.errors import Refusal
    from carrara.serve.engines import find_kind, open_engine
    from carrara.serve.server import listen, serve, url_of
    from carrara.workspace import digest_of_value, open_workspace

    if dtype not in ("auto", "float32", "bfloat16"):
        raise Refusal(f"there is no dtype '{dtype}'; use auto, float32 or bfloat16.")
    kind = find_kind(engine)
    progress = make_progress()
    tls = _tls(tls_cert, tls_key)
    with listen(host, port) as listener:  # before the models are loaded, which takes time
        store = open_workspace(workspace)
        keys, new = _keys(store, key)

        from carrara.models import resolve_model
        from carrara.serve.audit import AuditLog, audit_path
        from carrara.serve.gateway import Terms, build_app
        from carrara.serve.record import Traffic
        from carrara.serve.roles import choose_role

        role = choose_role(store, role, progress) if role else None
        terms = Terms(host, role, _SIDE_BY_SIDE, rate=rate, each=at_once, cors=tuple(cors or ()), json_logs=json_logs)
        resolved = {reference: resolve_model(store, reference, progress) for reference in models}
        digests = {name: digest_of_value(model.identity()) for name, model in resolved.items()}
        audit = AuditLog(audit_path(store), digests, audit_contents)
        opened, traffic = open_engine(kind, resolved, store, dtype, progress), Traffic()
        app = build_app(opened, keys, terms, on_answer=audit.append, traffic=traffic)
        progress.say(f"serving {', '.join(opened.models())} at {url_of(listener, tls)}")
        if new:
            progress.say(f"key: {new}")
        serve(app, listener, traffic, opened.close, tls)


def _keys(workspace: Workspace, key: str | None) -> tuple[Keys, str | None]:
    """The keys to take, and the one that was made up for this run, if any."""
    import secrets

    from carrara.serve.keys import FILE, KeyFile, OneKey, read_keys

    if key is not None:
        return OneKey(key), None
    if read_keys(workspace.root / FILE):
        return KeyFile(workspace.root / FILE), None
    new = secrets.token_urlsafe(32)
    return OneKey(new), new


def _tls(certificate: Path | None, key: Path | None) -> Tls | None:
    from carrara.errors import Refusal
    from carrara.serve.server import Tls

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise Refusal("--tls-cert and --tls-key belong together; give both.")
    return Tls(certificate, key)
