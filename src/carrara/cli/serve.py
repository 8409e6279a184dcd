"""`carrara serve`: an endpoint that any OpenAI client can use."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carrara.cli.console import make_progress
from carrara.cli.options import EngineOption, NumbersOption, WorkspaceOption

if TYPE_CHECKING:
    import socket

    from carrara.serve.engines import Choice
    from carrara.serve.gateway import Terms
    from carrara.serve.keys import Keys
    from carrara.serve.roster import Roster
    from carrara.serve.server import Tls
    from carrara.workspace import Workspace

_PORT = 8800
_SIDE_BY_SIDE = 4  # requests that an engine is given at once; one that answers them in turn lets the others wait


def serve_command(
    context: typer.Context,
    models: Annotated[list[str], typer.Argument(metavar="MODEL|RUN…", help="What to serve, under these names.")],
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The port to listen at (else 8800); 0 takes a free one.")
    ] = None,
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
    dtype: NumbersOption = "auto",
    join: Annotated[
        bool, typer.Option("--join", help="Hand the models to your server that runs (at --host, --port), and leave.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Answer as OpenAI's clients expect it; for this machine only, unless --host says more."""
    from carrara.workspace import open_workspace

    if join:
        given = _given(context)
        _require_no_more(given)
        _join(open_workspace(workspace), host if "host" in given else None, port, models)
        return
    choice = _choice(engine, dtype)
    tls = _tls(tls_cert, tls_key)

    from carrara.serve.server import listen

    with listen(host, _PORT if port is None else port) as listener:  # before the models are loaded, which takes time
        store, progress = open_workspace(workspace), make_progress()
        keys, new = _keys(store, key)

        from carrara.serve.gateway import Terms
        from carrara.serve.roles import choose_role
        from carrara.serve.roster import Roster

        role = choose_role(store, role, progress) if role else None
        terms = Terms(host, role, _SIDE_BY_SIDE, rate=rate, each=at_once, cors=tuple(cors or ()), json_logs=json_logs)
        roster = Roster(choice, {reference: reference for reference in models}, store, dtype, progress)
        _serve(roster, store, keys, terms, listener, tls, audit_contents, new)


def _serve(
    roster: Roster,
    workspace: Workspace,
    keys: Keys,
    terms: Terms,
    listener: socket.socket,
    tls: Tls | None,
    audit_contents: bool,
    new_key: str | None,
) -> None:
    from carrara.serve.audit import AuditLog, audit_path
    from carrara.serve.control import reachable
    from carrara.serve.gateway import build_app
    from carrara.serve.record import Traffic
    from carrara.serve.roles import find_role
    from carrara.serve.server import serve, url_of

    progress, traffic, engine = make_progress(), Traffic(), roster.engine

    def add(references: Mapping[str, str]) -> list[str]:
        roster.add(references)
        progress.say(f"serving {', '.join(references)}, too")
        return engine.models()

    with ExitStack() as opened:
        opened.callback(engine.close)
        host, port = listener.getsockname()[:2]
        opened.enter_context(reachable(workspace, host, port, add))
        audit = AuditLog(audit_path(workspace), roster.digests, audit_contents)
        roles = partial(find_role, workspace)
        app = build_app(engine, keys, terms, on_answer=audit.append, traffic=traffic, roles=roles)
        progress.say(f"serving {', '.join(engine.models())} at {url_of(listener, tls)}")
        if new_key:
            progress.say(f"key: {new_key}")
        serve(app, listener, traffic, opened.close, tls)


def _choice(engine: str, dtype: str) -> Choice:
    """Raises Refusal for an engine or a dtype that there is not."""
    from carrara.serve.engines import parse_engine, require_dtype

    choice = parse_engine(engine)
    require_dtype(choice, dtype)
    return choice


def _given(context: typer.Context) -> set[str]:
    """The parameters that stand on the command line; those of the environment are for all commands."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def _require_no_more(given: set[str]) -> None:
    """Raises Refusal for parameters that mean nothing to a server that runs."""
    from carrara.errors import Refusal

    if idle := given - {"join", "workspace", "host", "port", "models"}:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(idle))
        raise Refusal(f"with --join, {options} would change nothing, since the server runs already; leave that out.")


def _join(workspace: Workspace, host: str | None, port: int | None, models: list[str]) -> None:
    from carrara.serve.control import join

    progress = make_progress()
    progress.say(f"handing {', '.join(models)} to the server")
    progress.say(f"the server answers as {', '.join(join(workspace, host, port, models))}")


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
