"""What the gateway adds to the engine behind it: seconds over HTTP less the engine's own; prints a table and JSON.

The engine says 32 words without thinking, so that all the time is the gateway's. It listens in a process of its own on
loopback, with the key check, limits, metrics and a record of each request switched on; one client keeps one
connection and asks for whole and for streamed answers in turn. Of a streamed answer the time to its first word counts,
too. `--clients N` asks from N connections at once, and then the figures hold the waiting for one another.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

from carrara.data.example import Message
from carrara.serve.engine import ChatRequest, Embedded, Piece, TextRequest

KEY = "benchmark"
WORDS = 32
WARM = 100  # requests that are not counted
LAW = {"p50": 3.0, "p99": 10.0}  # milliseconds
AIM = {"p50": 1.0, "p99": 5.0}


class Fluent:
    """An engine that takes no time."""

    def models(self) -> list[str]:
        return ["m"]

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        for index in range(WORDS):
            if cancelled():
                return
            yield Piece(f" word{index}")
        yield Piece("", "stop", 12, WORDS)

    def embed(self, model: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> Embedded:
        return Embedded(tuple((1.0,) for _ in texts), len(texts))

    def describe(self, model: str) -> str:
        return "fluent"

    def close(self) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000, help="of each kind and client")
    parser.add_argument("--clients", type=int, default=1)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(there, arguments.clients), daemon=True)
    server.start()
    port = here.recv()
    try:
        bare = statistics.median(_bare() for _ in range(1000))
        found = _measure(port, arguments.requests, arguments.clients)
    finally:
        server.terminate()
        server.join()
    figures = {name: _percentiles([seconds - bare for seconds in times]) for name, times in found.items()}
    print(f"{'milliseconds over the engine':<30}{'p50':>8}{'p99':>8}")
    for name, figure in [*figures.items(), ("at most", LAW), ("aim", AIM)]:
        print(f"{name:<30}{figure['p50']:>8.2f}{figure['p99']:>8.2f}")
    print(json.dumps({"clients": arguments.clients, "engine_ms": bare * 1e3, "overhead_ms": figures}))


def _serve(pipe: Connection, clients: int) -> None:
    from carrara.serve.gateway import Terms, build_app
    from carrara.serve.http_server import make_server
    from carrara.serve.record import Traffic
    from carrara.serve.server import listen

    with listen("127.0.0.1", 0) as listener:
        traffic = Traffic()
        terms = Terms(at_once=clients, rate=10**9, each=clients)
        app = build_app(Fluent(), KEY, terms, on_answer=lambda answered: None, traffic=traffic)
        pipe.send(listener.getsockname()[1])
        make_server(app, traffic).run(sockets=[listener])


def _bare() -> float:
    started = time.perf_counter()
    request = ChatRequest(model="m", messages=(Message("user", "hello"),))
    "".join(piece.text for piece in Fluent().answer(request, lambda: False))
    return time.perf_counter() - started


def _measure(port: int, requests: int, clients: int) -> dict[str, list[float]]:
    """Seconds of each request, by what was measured."""
    found: dict[str, list[float]] = {"whole": [], "streamed, first word": [], "streamed, to the end": []}

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for index in range(WARM + requests):
            _, whole = _ask(connection, stream=False)
            first, end = _ask(connection, stream=True)
            if index >= WARM:
                for times, seconds in zip(found.values(), (whole, first, end), strict=True):
                    times.append(seconds)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _ask(connection: http.client.HTTPConnection, stream: bool) -> tuple[float, float]:
    """Seconds to the first word and to the end of an answer."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": stream})
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    started = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, headers)
    response = connection.getresponse()
    first, said = 0.0, b""
    while part := response.read1() if stream else response.read():
        said += part
        if not first and b"word0" in said:
            first = time.perf_counter() - started
    seconds = time.perf_counter() - started
    if response.status != 200 or f"word{WORDS - 1}".encode() not in said:
        raise SystemExit(f"the gateway answered {response.status}: {said[:200]!r}")
    return first, seconds


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    """Of seconds, in milliseconds."""
    cuts = statistics.quantiles(times, n=100)
    return {"p50": cuts[49] * 1e3, "p99": cuts[98] * 1e3}


if __name__ == "__main__":
    main()
