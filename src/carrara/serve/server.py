"""Listening: a socket of this machine, and uvicorn on it."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
from typing import TYPE_CHECKING

from carrara.errors import Refusal

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_GRACE = 5  # seconds that answers under way have to finish when the server is told to stop
_BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at `host` and `port` (0: any free one); raises Refusal if there can be none.

    It listens at once, so that a second server at the same port is refused while the first still loads.
    """
    if not 0 <= port <= 65535:  # the system would take the remainder
        raise Refusal(f"there is no port {port}; use --port with a number from 1024 to 65535.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise Refusal(f"the host '{host}' is not known; use --host 127.0.0.1 or this machine's address.") from error
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise _refusal(error, host, port) from error
    return listener


def _refusal(error: OSError, host: str, port: int) -> Refusal:
    if error.errno == errno.EADDRINUSE:
        return Refusal(f"port {port} of {host} is in use; stop what listens there, or choose another with --port.")
    if error.errno == errno.EADDRNOTAVAIL:
        return Refusal(f"{host} is no address of this machine; use --host 127.0.0.1, or 0.0.0.0 for all addresses.")
    if error.errno == errno.EACCES:
        return Refusal(f"port {port} needs special rights; choose one above 1023 with --port.")
    return Refusal(f"port {port} of {host} cannot be used ({error.strerror}); choose others with --host and --port.")


def url_of(listener: socket.socket) -> str:
    """The base URL for clients of this machine."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"
    return f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Answer until SIGTERM or Ctrl-C, which is raised as KeyboardInterrupt after a graceful stop; in the main thread.

    Answers under way get a few seconds to finish. Nothing is logged but failures, and no request's content.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=_GRACE,
    )
    interrupts: list[int] = []  # uvicorn stops gracefully at Ctrl-C, then hands it to whoever handled it before
    before = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        with listener:
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt
