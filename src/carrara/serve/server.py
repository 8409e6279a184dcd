"""Listening: a socket of this machine, and uvicorn on it."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carrara.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp

    from carrara.serve.record import Traffic

_BACKLOG = 128
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_UNREAD = 30_000  # milliseconds that a client may leave what was sent to it unread, before it is cut off


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
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; the sockets of clients inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNREAD)
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


def url_of(listener: socket.socket, tls: Tls | None = None) -> str:
    """The base URL for clients of this machine."""
    scheme = "https" if tls else "http"
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "::1" if address.version == 6 else "127.0.0.1"
    return f"{scheme}://[{host}]:{port}/v1" if ":" in host else f"{scheme}://{host}:{port}/v1"


@dataclass(frozen=True)
class Tls:
    """The files of a certificate chain and its private key, in PEM form; raises Refusal if they don't fit."""

    certificate: Path
    key: Path

    def __post_init__(self) -> None:
        def no_password() -> str:
            raise Refusal(f"the key in {self.key} is protected by a password; store it without one.")

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, no_password)
        except OSError as error:  # an SSLError is one, too
            reason = "they do not belong together, or are no PEM" if isinstance(error, ssl.SSLError) else error.strerror
            message = f"--tls-cert {self.certificate} with --tls-key {self.key} cannot be used ({reason}); give others."
            raise Refusal(message) from error


def serve(
    app: ASGIApp, listener: socket.socket, traffic: Traffic, close: Callable[[], None], tls: Tls | None = None
) -> None:
    """Answer, in the main thread, until Ctrl-C, raised as KeyboardInterrupt, or SIGTERM, which ends the process.

    Answers under way get a few seconds to finish, while new requests are told to come back later; `close` is called
    after them. Nothing is logged but failures, and no request's content.
    """
    from carrara.serve.http_server import make_server

    caught: list[int] = []  # uvicorn stops gracefully at a signal, then hands it to whoever handled it before
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in _SIGNALS}
    try:
        with listener:
            if not caught:  # before the server listens to signals itself
                make_server(app, traffic, tls).run(sockets=[listener])
    finally:
        close()
        traffic.tellers.shutdown()  # what is still to be told of requests is told
        for number, handler in before.items():
            signal.signal(number, handler)
    if signal.SIGTERM in caught:
        signal.raise_signal(signal.SIGTERM)
    if caught:
        raise KeyboardInterrupt
