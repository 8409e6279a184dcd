"""Slow clients, rude ones, and the stop: the server stays up, and others are served."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest

from carrara.serve.record import ANSWERING

from .asking import HELLO, running, send, served, wait_until
from .scripted import Scripted


def raw(url: str, data: bytes) -> socket.socket:
    host, port = url.split("/")[2].rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(data)
    return connection


def read(connection: socket.socket, mark: bytes) -> bytes:
    """What comes, up to the mark."""
    said = b""
    while mark not in said:
        more = connection.recv(10_000)
        assert more, said
        said += more
    return said


def send_for_ever(connection: socket.socket) -> None:
    while True:
        connection.sendall(bytes(1 << 16))
        time.sleep(0.01)


HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: key\r\nContent-Type: application/json\r\n"
)


WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(("before", "begun"), [(b"", b""), (b"", WHOLE[:-9]), (WHOLE, WHOLE[:-9])])
def test_half_a_head_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, before: bytes, begun: bytes) -> None:
    monkeypatch.setattr("carrara.serve.http_server._PATIENCE", 0.2)
    with served(Scripted()) as url, raw(url, before) as connection:
        if before:
            read(connection, b'{"status":"ok"}')
        start = time.monotonic()
        connection.sendall(begun)
        assert connection.recv(1000) == b""
        assert 0.1 < time.monotonic() - start < 2


def test_half_a_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.serve.gateway._PATIENCE", 0.2)
    engine = Scripted()
    with served(engine) as url, raw(url, HEAD + b'Content-Length: 100\r\n\r\n{"model"') as connection:
        assert b"408 Request Timeout" in read(connection, b"body_too_slow")
        assert engine.asked == []


def test_a_slow_body_within_the_time_is_taken() -> None:
    body = json.dumps(HELLO).encode()
    with served(Scripted()) as url, raw(url, HEAD + b"Content-Length: %d\r\n\r\n" % len(body)) as connection:
        for byte in body:
            connection.sendall(bytes([byte]))
        assert b"200 OK" in read(connection, b"w\xc3\xb6rld")


def test_a_client_that_sends_on_still_hears_why_it_is_refused() -> None:
    length = 100 << 20
    with served(Scripted()) as url, raw(url, HEAD + b"Content-Length: %d\r\n\r\n" % length) as connection:
        for _ in range(length >> 20):  # as clients do that read only after all is sent
            connection.sendall(bytes(1 << 20))
        assert b"413 " in read(connection, b"body_too_large")
        connection.sendall(WHOLE)  # the connection stays of use
        assert b"200 OK" in read(connection, b'{"status":"ok"}')


def test_a_refused_body_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.serve.http_server._PATIENCE", 0.3)
    with served(Scripted()) as url, raw(url, HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 40)) as connection:
        read(connection, b"body_too_large")
        start = time.monotonic()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            send_for_ever(connection)
        assert 0.1 < time.monotonic() - start < 2


def test_a_client_that_leaves_amid_its_body_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    with served(Scripted()) as url:
        raw(url, HEAD + b"Content-Length: 100\r\n\r\n{").close()
        assert send(url, HELLO).getresponse().status == 200
    assert "Traceback" not in caplog.text


def test_a_client_that_does_not_read_frees_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.serve.desk._PATIENCE", 1.0)
    engine = Scripted(repeat("word " * 1000))
    body = json.dumps({**HELLO, "stream": True}).encode()

    def status() -> int:
        return send(url, HELLO).getresponse().status

    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with served(engine, waiting=0) as url, raw(url, sent) as connection:
        read(connection, b"word")
        engine.words = ("short",)
        assert status() == 429
        wait_until(lambda: status() == 200, 5)


@pytest.mark.parametrize("lists", [49_000, 1_900_000])
def test_a_body_that_takes_long_to_check_holds_nobody_up(lists: int) -> None:
    body = b'{"model": "m", "messages": [], "metadata": [' + (b"[" * 50 + b"]" * 50 + b",") * (lists // 50) + b"1]}"
    sent = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with served(Scripted()) as url, ThreadPoolExecutor(1) as thread, raw(url, sent) as connection:
        refused = thread.submit(read, connection, b"}}")
        waited: list[float] = []
        while not refused.done():
            begun = time.monotonic()
            assert send(url, HELLO).getresponse().status == 200
            waited.append(time.monotonic() - begun)
        assert b"400 Bad Request" in refused.result()
    assert max(waited, default=0) < 2


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs Linux")
def test_a_client_that_does_not_read_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("carrara.serve.desk._PATIENCE", 0.3)
    monkeypatch.setattr("carrara.serve.server._UNREAD", 500)
    body = json.dumps({**HELLO, "stream": True}).encode()
    head = HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    with running(Scripted(repeat("word " * 1000)), json_logs=True) as (url, server, _), raw(url, head + body):
        wait_until(lambda: server.server_state.total_requests or server.server_state.connections)
        wait_until(lambda: not server.server_state.connections, 8)
        wait_until(lambda: "client_too_slow" in capsys.readouterr().err)


BAD = [
    b"\x00\x01\x02\x03\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nAuthorization: key\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nAuthorization: key\r\n\r\n",
    b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nAuthorization: key\r\n\r\n",
    b"GET /v1/%2e%2e/%00 HTTP/1.1\r\nHost: localhost\r\nAuthorization: key\r\n\r\n",
    b"GET /" + b"x" * 100_000,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    HEAD + b"Content-Length: -1\r\n\r\n",
    HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n",
    HEAD + b"Content-Length: 5\r\n\r\n{{{{{",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
]


def test_the_server_stays_up_and_others_are_served(caplog: pytest.LogCaptureFixture) -> None:
    engine = Scripted()
    engine.gate.clear()
    with served(engine, at_once=2) as url:
        inside = send(url, {**HELLO, "stream": True}).getresponse()
        assert inside.read(10)
        for data in BAD:
            with raw(url, data) as connection:
                said = connection.recv(1000)
                assert b" 200 " not in said.split(b"\r\n")[0] or b"Upgrade" in data
                assert b"Traceback" not in said
        for path, body in [
            (path, body) for path in ANSWERING for body in ({}, {"n": 16384}, {"mood": 1}, {"model": 1})
        ]:
            assert send(url, body, path).getresponse().status == 400
        for path in ANSWERING:
            send(url, {**HELLO, "stream": True}, path).close()
        engine.gate.set()
        assert b"[DONE]" in inside.read()
        wait_until(lambda: send(url, HELLO).getresponse().status == 200)
    assert "Traceback" not in caplog.text


def test_stopping_lets_answers_finish_and_tells_others_to_come_back() -> None:
    engine = Scripted()
    engine.gate.clear()
    with running(engine) as (url, server, thread):
        inside = send(url, HELLO)
        wait_until(lambda: len(engine.asked) == 1)
        server.handle_exit(signal.SIGTERM, None)
        refused = send(url, HELLO).getresponse()
        assert (refused.status, json.loads(refused.read())["error"]["code"]) == (503, "stopping")
        assert int(refused.headers["Retry-After"]) > 0
        health = http.client.HTTPConnection(url.split("/")[2], timeout=10)
        health.request("GET", "/healthz")
        response = health.getresponse()
        assert (response.status, json.loads(response.read())) == (503, {"status": "stopping"})
        assert thread.is_alive()
        engine.gate.set()
        assert json.loads(inside.getresponse().read())["choices"][0]["message"]["content"] == "Hello wörld"
        thread.join(2)
        assert not thread.is_alive()


def test_the_stop_does_not_wait_for_ever_and_tells_whom_it_breaks_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("carrara.serve.http_server._GRACE", 0.3)
    engine = Scripted()
    engine.gate.clear()
    with running(engine) as (url, server, thread):
        streamed = send(url, {**HELLO, "stream": True}).getresponse()
        assert streamed.read(10)
        whole = send(url, HELLO)
        wait_until(lambda: len(engine.asked) == 2)
        server.handle_exit(signal.SIGTERM, None)
        last = streamed.read().decode().strip().splitlines()[-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "stopping"
        response = whole.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (503, "stopping")
        thread.join(3)
        assert not thread.is_alive()
        assert engine.gave_up == 2
    assert "Traceback" not in caplog.text
