"""How a command of the same user reaches a server that runs: a socket in a folder that nobody else can enter.

One line of JSON asks, `{"models": {NAME: REFERENCE}}`, and one answers: `{"models": [NAME…]}` with all that are served,
or `{"refused": SENTENCE}`.
Clients of the API have no way here, since what a server loads is for whoever started it to say.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.models import parse_reference
from carrara.workspace import Workspace

_LONGEST = 1 << 20  # bytes of a line
_PATIENCE = 5.0  # seconds for a line of someone who has connected
_LOADING = 600.0  # seconds for a server to take models
_PAUSE = 0.1  # seconds before more is accepted, where the system had no room

_Add = Callable[[Mapping[str, str]], Sequence[str]]


@contextmanager
def reachable(workspace: Workspace, host: str, port: int, add: _Add) -> Iterator[None]:
    """Take models for the server at `host` and `port` while this lasts.

    `add` takes them, and gives all names that are served. Raises Refusal where another one takes them already, as from
    a container with the same workspace.
    """
    path = _folder(workspace) / f"{port}-{host}.sock"
    with socket.socket(socket.AF_UNIX) as visitor:
        if _connect(visitor, path):
            raise Refusal(f"another server with this workspace listens at {host}:{port}; choose another --port.")
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            path.unlink(missing_ok=True)  # that of a server that was killed
            with _address(path) as address:
                listener.bind(address)
        except OSError as error:
            raise Refusal(f"{path} cannot be a socket ({error}); use a --workspace with a shorter path.") from error
        listener.listen()
        closed = threading.Event()
        threading.Thread(target=_attend, args=(listener, add, closed), daemon=True).start()
        try:
            yield
        finally:
            closed.set()
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # or accept would go on


def join(workspace: Workspace, host: str | None, port: int | None, references: Sequence[str]) -> list[str]:
    """Hand models to the server of this workspace, that at `host` and `port` if given; gives all names that it serves.

    Raises Refusal where no server listens or several do, and with the server's sentence.
    """
    models = {reference: _absolute(reference) for reference in references}
    with _connected(workspace, host, port) as connection:
        connection.settimeout(_LOADING)
        try:
            connection.sendall(json.dumps({"models": models}).encode() + b"\n")
            answer = _line(connection)
        except TimeoutError as error:
            raise Refusal(f"the server took no models in {_LOADING:g} seconds; look at what it says.") from error
        except (OSError, ValueError) as error:
            raise Refusal("the server ended before it had taken the models; look at what it says.") from error
    if "refused" in answer:
        raise Refusal(answer["refused"])
    return answer["models"]


def _folder(workspace: Workspace) -> Path:
    folder = workspace.root / "serving"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """A socket's path in the hundred bytes that the system has for it: through the open folder, where that can be."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        short = Path(f"/proc/self/fd/{folder}")
        yield str((short if short.exists() else path.parent) / path.name)
    finally:
        os.close(folder)


def _absolute(reference: str) -> str:
    """The reference for a process that runs elsewhere: a path in full, and all others as they are."""
    with contextlib.suppress(Refusal):  # the server knows better: names at another server are no references
        if path := parse_reference(reference).path:
            return str(path)
    return reference


@contextmanager
def _connected(workspace: Workspace, host: str | None, port: int | None) -> Iterator[socket.socket]:
    with contextlib.ExitStack() as stack:
        found: dict[str, socket.socket] = {}
        for path in sorted(_folder(workspace).glob("*-*.sock")):
            of_port, _, of_host = path.stem.partition("-")
            if (port is None or of_port == str(port)) and host in (None, of_host):
                connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                if _connect(connection, path):
                    found[f"--host {of_host} --port {of_port}"] = connection
        if not found:
            where = [f"at port {port}"] if port is not None else []
            where += [f"at the address {host}"] if host is not None else []
            raise Refusal(
                f"no server of yours listens {' '.join(where) or 'with this workspace'}; start one without --join."
            )
        if len(found) > 1:
            raise Refusal(f"several servers listen; name the one that is meant: {', or '.join(found)}.")
        yield next(iter(found.values()))


def _connect(visitor: socket.socket, path: Path) -> bool:
    """Whether somebody listens at a socket; one that a killed server left, or that goes meanwhile, is nobody's."""
    try:
        with _address(path) as address:
            visitor.connect(address)
    except OSError:
        return False
    return True


def _attend(listener: socket.socket, add: _Add, closed: threading.Event) -> None:
    """Answer one after the other until `closed`."""
    while not closed.is_set():
        try:
            connection, _ = listener.accept()
        except OSError:  # closed, or too many files are open
            closed.wait(_PAUSE)
            continue
        # whoever asked has left, or spoke no JSON
        with connection, contextlib.suppress(OSError, ValueError, LookupError, RecursionError):
            connection.settimeout(_PATIENCE)
            asked = _line(connection)
            connection.sendall(json.dumps(_answer(asked["models"], add)).encode() + b"\n")


def _answer(models: Mapping[str, str], add: _Add) -> dict[str, Any]:
    try:
        return {"models": list(add(models))}
    except Refusal as error:
        return {"refused": str(error)}
    except Exception as error:  # told to whoever asked; the server goes on
        return {"refused": f"the models could not be added ({type(error).__name__}: {error}); the server goes on."}


def _line(connection: socket.socket) -> dict[str, Any]:
    """The object on the next line; raises ValueError where there is none."""
    with connection.makefile("rb") as file:
        value = json.loads(file.readline(_LONGEST))
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value
