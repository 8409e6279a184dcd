"""The gateway on a real socket: the openai client, the line, clients that leave, and ports that are taken."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import uvicorn

from carrara.errors import Refusal
from carrara.models import Model
from carrara.serve.gateway import build_app
from carrara.serve.server import listen, url_of
from carrara.serve.transformers_engine import TransformersEngine

from .scripted import Scripted

KEY = "key"
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@contextmanager
def served(engine: Any, waiting: int = 16) -> Iterator[str]:
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(build_app(engine, KEY, waiting=waiting), log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join()


def client_of(url: str, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)


def wait_until(condition: Any, seconds: float = 1.0) -> float:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "waited too long"
        time.sleep(0.005)
    return time.monotonic() - start


def send(url: str, body: dict[str, Any]) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
    headers = {"Authorization": KEY, "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection


def test_the_openai_client(engine: TransformersEngine) -> None:
    with served(engine) as url:
        client = client_of(url)
        assert [model.id for model in client.models.list()] == engine.models()
        settings: dict[str, Any] = {"model": "run/one", "messages": HELLO, "temperature": 0, "max_tokens": 12}
        whole = client.chat.completions.create(**settings)
        chunks = list(client.chat.completions.create(**settings, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content != ""
    assert chunks[-1].usage == whole.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason


def test_errors_arrive_as_the_openai_clients_own(engine: TransformersEngine) -> None:
    with served(engine) as url:
        client = client_of(url)
        with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
            client.chat.completions.create(model="gpt", messages=HELLO)
        with pytest.raises(openai.BadRequestError, match="'tools' is not supported"):
            client.chat.completions.create(
                model="base", messages=HELLO, tools=[{"type": "function", "function": {"name": "f"}}]
            )
        with pytest.raises(openai.AuthenticationError):
            client_of(url, "wrong").models.list()


def test_pieces_are_sent_as_they_come() -> None:
    engine = Scripted()
    engine.gate.clear()
    with served(engine) as url:
        stream = client_of(url).chat.completions.create(model="m", messages=HELLO, stream=True)
        texts = (chunk.choices[0].delta.content for chunk in stream)
        assert [next(texts), next(texts)] == ["", "Hello"]  # while the engine still waits to say more
        engine.gate.set()
        assert list(texts) == [" wörld", None]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_the_engine(stream: bool) -> None:
    engine = Scripted()
    engine.gate.clear()
    with served(engine, waiting=0) as url:
        connection = send(url, {"model": "m", "messages": HELLO, "stream": stream})
        wait_until(lambda: engine.asked)
        time.sleep(0.1)
        assert engine.gave_up == 0
        connection.close()
        assert wait_until(lambda: engine.gave_up) < 1
        engine.gate.set()
        assert (
            client_of(url).chat.completions.create(model="m", messages=HELLO).choices[0].message.content
            == "Hello wörld"
        )


def test_a_real_engine_is_freed_within_a_second(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.models.stepper.Stepper.__call__", _slow(0.05))
    with served(engine, waiting=0) as url:
        connection = send(url, {"model": "base", "messages": HELLO, "stream": True, "max_tokens": 200, "seed": 3})
        assert connection.getresponse().read(10)
        connection.close()
        start = time.monotonic()
        wait_until(
            lambda: send(url, {"model": "run/two", "messages": HELLO, "max_tokens": 1}).getresponse().status == 200
        )
        assert time.monotonic() - start < 1


def _slow(seconds: float) -> Any:
    from carrara.models.stepper import Stepper

    quick = Stepper.__call__

    def step(self: Stepper, tokens: Any) -> Any:
        time.sleep(seconds)
        return quick(self, tokens)

    return step


def test_a_full_line_is_told_with_when_to_come_back() -> None:
    engine = Scripted()
    engine.gate.clear()
    with served(engine, waiting=1) as url:
        inside = [send(url, {"model": "m", "messages": HELLO}) for _ in range(2)]
        wait_until(lambda: len(engine.asked) == 2)
        response = send(url, {"model": "m", "messages": HELLO}).getresponse()
        assert response.status == 429
        assert int(response.headers["Retry-After"]) > 0
        assert json.loads(response.read())["error"]["code"] == "queue_full"
        engine.gate.set()
        assert [connection.getresponse().status for connection in inside] == [200, 200]
        assert client_of(url).chat.completions.create(model="m", messages=HELLO)


def test_refused_requests_do_not_fill_the_line() -> None:
    with served(Scripted(), waiting=0) as url:
        for _ in range(3):
            assert send(url, {"model": "nobody", "messages": HELLO}).getresponse().status == 404
        assert send(url, {"model": "m", "messages": HELLO}).getresponse().status == 200


def test_a_port_in_use_is_refused() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refusal, match=f"port {port} of 127.0.0.1 is in use; .*--port"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("192.0.2.1", 0, "no address of this machine"),
        ("no-such-host.invalid", 0, "is not known"),
        ("x" * 70, 0, "is not known"),
        ("127.0.0.1", 70_000, "no port 70000"),
    ],
)
def test_a_host_or_port_that_cannot_be_is_refused(host: str, port: int, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        listen(host, port)


def test_urls_are_for_clients_of_this_machine() -> None:
    for host, start in (("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("::1", "http://[::1]:")):
        if host == "::1" and not socket.has_ipv6:
            continue
        with listen(host, 0) as listener:
            assert url_of(listener).startswith(start)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_and_stops(tiny_models: dict[str, Model], tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import typer; from carrara.cli.serve import serve_command\n"
        "app = typer.Typer(add_completion=False); app.command()(serve_command); app()"
    )
    folder = str(tiny_models["base"].path)
    command = [sys.executable, "-c", code, folder, "--port", "0", "--workspace", str(tmp_path), "--dtype", "float32"]
    environment = {name: value for name, value in os.environ.items() if name != "CARRARA_KEY"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stderr is not None
            url = next(line for line in process.stderr if "serving" in line).split()[-1]
            key = next(line for line in process.stderr if line.startswith("key:")).split()[-1]
            answer = client_of(url, key).chat.completions.create(model=folder, messages=HELLO, max_tokens=3)
            assert answer.usage is not None
            process.send_signal(number)
            assert process.wait(10) == (130 if number == signal.SIGINT else -number)
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
