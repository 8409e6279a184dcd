"""Who may ask: the Host header, the Origin and the key are checked before anything else sees a request."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from carrara.serve.protocol import ApiError, encode

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/healthz"})

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:@/?#\[\]\s]+)(:\d{1,5})?")
_BEARER = re.compile(rb"bearer +", re.IGNORECASE)


class Guard:
    """ASGI middleware that answers whatever must not pass by itself.

    The Host check keeps out pages that rebind a name of theirs to this machine, the Origin check pages
    of other sites; the key all others.
    """

    def __init__(self, app: ASGIApp, key: str, host: str) -> None:
        self._app = app
        self._digest = _digest(key.encode())
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            try:
                self._check(scope)
            except ApiError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or not _is_own(hosts[0].decode("latin-1"), self._host):
            raise ApiError(421, "host_not_allowed", "this server does not answer to that host name; use its address.")
        for origin in _values(scope, b"origin"):
            if origin.lower().partition(b"://")[2] != hosts[0].lower():
                raise ApiError(403, "origin_not_allowed", "pages of other origins may not ask this server.")
        if scope["path"] not in OPEN_PATHS and not self._has_key(scope):
            message = "the key is missing or wrong; send 'Authorization: Bearer KEY' with this server's key."
            raise ApiError(401, "invalid_api_key", message, headers={"WWW-Authenticate": "Bearer"})

    def _has_key(self, scope: Scope) -> bool:
        given = _values(scope, b"authorization")
        if len(given) != 1:
            return False
        return hmac.compare_digest(_digest(_BEARER.sub(b"", given[0], count=1).strip()), self._digest)


def error_response(error: ApiError) -> Response:
    """The HTTP response that tells of an error."""
    from starlette.responses import Response

    return Response(encode(error.body()), error.status, error.headers, "application/json")


def _digest(key: bytes) -> bytes:
    """Digests are compared instead of keys, so that the time taken says nothing, not even the length."""
    return hashlib.sha256(key).digest()


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _is_own(header: str, bound: str) -> bool:
    """Whether a Host header names this server: by a loopback name or by the host that it is bound to.

    Bound to all addresses, any literal address will do, since rebinding needs a name, and this machine's name.
    """
    match = _HOST.fullmatch(header)
    if not match:
        return False
    name = match[1].strip("[]").lower().rstrip(".")
    if name in ("localhost", bound):
        return True
    address = _address(name)
    bound_address = _address(bound)
    everywhere = bound_address is not None and bound_address.is_unspecified
    if address is None:
        return everywhere and name == socket.gethostname().lower()
    return address.is_loopback or everywhere or address == bound_address


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
