"""Asking a gateway, with and without a network, in tests."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import openai
import uvicorn
from starlette.testclient import TestClient

from carrara.serve.gateway import Terms, build_app
from carrara.serve.http_server import make_server
from carrara.serve.record import Traffic
from carrara.serve.server import Tls, listen, url_of

from .scripted import Scripted

KEY = "s3cret-ключ"
PLAIN_KEY = "key"  # that of gateways that listen, since not every client can send the other
CHAT = "/v1/chat/completions"
MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
HELLO: dict[str, Any] = {"model": "m", "messages": MESSAGES}


def client_of(
    engine: Any = None, keys: Any = KEY, on_answer: Any = None, roles: Any = None, **terms: Any
) -> TestClient:
    """A client with the key, straight into the application."""
    app = build_app(engine or Scripted(), keys, Terms(**terms), on_answer=on_answer, roles=roles)
    headers = {"Authorization": f"Bearer {KEY}".encode()}
    return TestClient(app, base_url="http://127.0.0.1:8800", headers=headers)  # type: ignore[arg-type]


@contextmanager
def running(
    engine: Any, key: str = PLAIN_KEY, tls: Tls | None = None, **terms: Any
) -> Iterator[tuple[str, uvicorn.Server, threading.Thread]]:
    """A gateway that listens in a thread: its URL, the server and the thread."""
    listener, traffic = listen("127.0.0.1", 0), Traffic()
    server = make_server(build_app(engine, key, Terms(**terms), traffic=traffic), traffic, tls)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield url_of(listener, tls), server, thread
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def served(engine: Any, key: str = PLAIN_KEY, tls: Tls | None = None, **terms: Any) -> Iterator[str]:
    """The URL of a gateway that listens."""
    with running(engine, key, tls, **terms) as (url, _, _):
        yield url


def error_of(response: Any, status: int) -> Mapping[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error


def events_of(response: Any) -> list[Any]:
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def wait_until(condition: Any, seconds: float = 1.0) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "waited too long"
        time.sleep(0.005)
    return time.monotonic() - start


def send(url: str, body: dict[str, Any], path: str = CHAT) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
    headers = {"Authorization": PLAIN_KEY, "Content-Type": "application/json"}
    connection.request("POST", path, json.dumps(body), headers)
    return connection


def openai_of(url: str, key: str = PLAIN_KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)
