"""Who may ask: Host, Origin, key and the key's limits are checked before anything else sees a request."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from carrara.errors import Refusal
from carrara.serve.desk import RETRY_AFTER
from carrara.serve.keys import Keys
from carrara.serve.limits import Limits, WrongKeys
from carrara.serve.protocol import ApiError, encode
from carrara.serve.record import ANSWERING, Record, Traffic, record_of

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN_PATHS = frozenset({"/healthz"})

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:@/?#\[\]\s]+)(:\d{1,5})?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s]+")
_BEARER = re.compile(rb"bearer +", re.IGNORECASE)
_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type, x-request-id"),
    (b"access-control-max-age", b"600"),
)


class Guard:
    """ASGI middleware that answers whatever must not pass by itself.

    The Host check keeps out pages that rebind a name of theirs to this machine, the Origin check pages
    of other sites but those in `cors`; the key all others.
    """

    def __init__(
        self, app: ASGIApp, keys: Keys, host: str, cors: frozenset[bytes], limits: Limits, traffic: Traffic
    ) -> None:
        self._app = app
        self._keys = keys
        self._own = {host.lower(), *_addresses(host)}
        self._cors = cors
        self._limits = limits
        self._traffic = traffic
        self._wrong = WrongKeys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        record = record_of(scope)
        try:
            self._check_host_and_origin(scope)
            send = self._sharing(scope, send)
            if self._is_preflight(scope):
                return await _preflight(send)
            self._check_key(scope, record)
            with self._limits.turn(record.who) if record.route in ANSWERING else nullcontext():
                await self._app(scope, receive, send)
        except ApiError as error:
            await error_response(error, record)(scope, receive, send)

    def _check_host_and_origin(self, scope: Scope) -> None:
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or not any(_is_own(hosts[0].decode("latin-1"), own) for own in self._own):
            raise ApiError(421, "host_not_allowed", "this server does not answer to that host name; use its address.")
        for origin in _values(scope, b"origin"):
            own = origin.lower().partition(b"://")[2] == hosts[0].lower()
            if not own and origin.lower() not in self._cors:
                message = "pages of that origin may not ask this server; it allows origins with --cors."
                raise ApiError(403, "origin_not_allowed", message)

    def _check_key(self, scope: Scope, record: Record) -> None:
        if scope["path"] in OPEN_PATHS:
            return
        given = _values(scope, b"authorization")
        if given:
            who = self._keys.owner(_BEARER.sub(b"", given[0], count=1).strip()) if len(given) == 1 else None
            if self._wrong.check((scope.get("client") or ("",))[0], who):
                record.who = who or ""
        if not record.who:
            message = "the key is missing or wrong; send 'Authorization: Bearer KEY' with this server's key."
            raise ApiError(401, "invalid_api_key", message, headers={"WWW-Authenticate": "Bearer"})
        if self._traffic.draining:
            message = "this server is being stopped; ask again when it is back."
            raise ApiError(503, "stopping", message, headers={"Retry-After": RETRY_AFTER, "Connection": "close"})

    def _is_preflight(self, scope: Scope) -> bool:
        asks = scope["method"] == "OPTIONS" and bool(_values(scope, b"access-control-request-method"))
        return asks and any(origin.lower() in self._cors for origin in _values(scope, b"origin"))

    def _sharing(self, scope: Scope, send: Send) -> Send:
        """Let pages of an allowed origin read the response; caches are told that it depends on who asks."""
        if not self._cors:
            return send
        headers = [(b"vary", b"Origin")]
        for origin in _values(scope, b"origin"):
            if origin.lower() in self._cors:
                headers.append((b"access-control-allow-origin", origin))
                headers.append((b"access-control-expose-headers", b"x-request-id, retry-after"))

        async def shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        return shared


def error_response(error: ApiError, record: Record) -> Response:
    """The HTTP response that tells of an error, which is noted in the record."""
    from starlette.responses import Response

    record.reason = error.code
    return Response(encode(error.body()), error.status, error.headers, "application/json")


async def _preflight(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
    await send({"type": "http.response.body"})


def origins(texts: Collection[str]) -> frozenset[bytes]:
    """Origins as browsers send them; raises Refusal for what is none."""
    for text in texts:
        if not _ORIGIN.fullmatch(text.lower()) or "*" in text:
            raise Refusal(f"'{text[:100]}' is no origin; use --cors with one such as https://studio.example:8443.")
    return frozenset(text.lower().encode() for text in texts)


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


def _addresses(host: str) -> set[str]:
    """The addresses of a host name, under which this machine listens, too."""
    if _address(host) or not host:
        return set()
    with suppress(OSError, UnicodeError):
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    return set()


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
