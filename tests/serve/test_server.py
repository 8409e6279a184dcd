"""The gateway on a real socket: the line, clients that leave, TLS, ports that are taken."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from carrara.errors import Refusal
from carrara.serve.server import Tls, listen, url_of
from carrara.serve.transformers_engine import TransformersEngine

from .asking import HELLO, MESSAGES, PLAIN_KEY, openai_of, send, served, wait_until
from .scripted import Scripted


def test_pieces_are_sent_as_they_come() -> None:
    engine = Scripted()
    engine.gate.clear()
    with served(engine) as url:
        stream = openai_of(url).chat.completions.create(model="m", messages=MESSAGES, stream=True)
        texts = (chunk.choices[0].delta.content for chunk in stream)
        assert [next(texts), next(texts)] == ["", "Hello"]  # while the engine still waits to say more
        engine.gate.set()
        assert list(texts) == [" wörld", None]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_the_engine(stream: bool) -> None:
    engine = Scripted()
    engine.gate.clear()
    with served(engine, waiting=0) as url:
        connection = send(url, {**HELLO, "stream": stream})
        wait_until(lambda: engine.asked)
        time.sleep(0.1)
        assert engine.gave_up == 0
        connection.close()
        assert wait_until(lambda: engine.gave_up) < 1
        engine.gate.set()
        assert (
            openai_of(url).chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content
            == "Hello wörld"
        )


def test_a_real_engine_is_freed_within_a_second(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.models.stepper.Stepper.__call__", _slow(0.05))
    with served(engine, waiting=0) as url:
        connection = send(url, {"model": "base", "messages": MESSAGES, "stream": True, "max_tokens": 200, "seed": 3})
        assert connection.getresponse().read(10)
        connection.close()
        start = time.monotonic()
        wait_until(
            lambda: send(url, {"model": "run/two", "messages": MESSAGES, "max_tokens": 1}).getresponse().status == 200
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
        inside = [send(url, HELLO) for _ in range(2)]
        wait_until(lambda: len(engine.asked) == 2)
        response = send(url, HELLO).getresponse()
        assert response.status == 429
        assert int(response.headers["Retry-After"]) > 0
        assert json.loads(response.read())["error"]["code"] == "queue_full"
        engine.gate.set()
        assert [connection.getresponse().status for connection in inside] == [200, 200]
        assert openai_of(url).chat.completions.create(model="m", messages=MESSAGES)


def test_refused_requests_do_not_fill_the_line() -> None:
    with served(Scripted(), waiting=0) as url:
        for _ in range(3):
            assert send(url, {"model": "nobody", "messages": MESSAGES}).getresponse().status == 404
        assert send(url, HELLO).getresponse().status == 200


def test_an_engine_with_several_slots_is_asked_side_by_side() -> None:
    engine = Scripted()
    engine.gate.clear()
    with served(engine, at_once=3, waiting=0) as url:
        inside = [send(url, HELLO) for _ in range(3)]
        wait_until(lambda: len(engine.asked) == 3)
        assert send(url, HELLO).getresponse().status == 429
        engine.gate.set()
        assert [connection.getresponse().status for connection in inside] == [200] * 3


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run([*command, *named, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return Tls(certificate, key)


def test_https(tls: Tls) -> None:
    with served(Scripted(), tls=tls) as url:
        assert url.startswith("https://127.0.0.1:")
        trusted = httpx.Client(verify=ssl.create_default_context(cafile=tls.certificate))
        client = openai.OpenAI(base_url=url, api_key=PLAIN_KEY, http_client=trusted)
        assert client.completions.create(model="m", prompt="Once").choices[0].text == "Hello wörld"
        with pytest.raises(OSError, match=r"closed|reset"):
            send(url, {}).getresponse()


def test_tls_files_that_do_not_work_are_refused(tls: Tls, tmp_path: Path) -> None:
    (tmp_path / "locked.pem").write_bytes(b"")
    for certificate, key in [(tls.key, tls.certificate), (tls.certificate, tmp_path / "none"), (tmp_path, tls.key)]:
        with pytest.raises(Refusal, match="cannot be used"):
            Tls(certificate, key)
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", tls.key, "-out", locked],
        check=True,
        capture_output=True,
    )
    with pytest.raises(Refusal, match="protected by a password"):
        Tls(tls.certificate, locked)


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
