"""uvicorn, with patience for slow clients that ends, and a stop that lets answers finish and says so."""

from __future__ import annotations

import asyncio
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from carrara.serve.record import Traffic
    from carrara.serve.server import Tls

_GRACE = 30.0  # seconds that answers under way have to finish when the server is told to stop
_FAREWELL = 2.0  # seconds that answers broken off after that have to tell their clients so
_PATIENCE = 10.0  # seconds that the head of a request may take to arrive


class PatientProtocol(H11Protocol):
    """Closes a connection on which no request has begun in time; uvicorn would keep half a head for ever."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._late is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._late = self.loop.call_later(_PATIENCE, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class DrainingServer(uvicorn.Server):
    """Told to stop, it listens on while answers are under way, so that new requests hear when to come back."""

    def __init__(self, config: uvicorn.Config, traffic: Traffic) -> None:
        super().__init__(config)
        self._traffic = traffic
        self._until = 0.0
        self._broken_off = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A first signal drains, a second one stops at once, as uvicorn does."""
        if self._traffic.draining:
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        self._traffic.draining = True
        self._until = time.monotonic() + _GRACE

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if self._traffic.draining:
            if not self._traffic.under_way:
                self.should_exit = True
            elif time.monotonic() > self._until:
                self.should_exit = self._broken_off
                self._break_off()
        return await super().on_tick(counter)

    def _break_off(self) -> None:
        self._broken_off = True
        self._until = time.monotonic() + _FAREWELL
        self._traffic.break_off()


def make_server(app: ASGIApp, traffic: Traffic, tls: Tls | None = None) -> uvicorn.Server:
    """The server for an application, to be run on a socket that listens."""
    files: dict[str, Any] = {"ssl_certfile": tls.certificate, "ssl_keyfile": tls.key} if tls else {}
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,  # after the farewell; what hangs even then is cut
        **files,
    )
    return DrainingServer(config, traffic)
