"""The gateway over HTTP, without a network: who may ask, what a body may be, and what failures tell."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from carrara.errors import Refusal
from carrara.serve.gateway import build_app
from carrara.serve.guard import OPEN_PATHS

from .asking import CHAT, HELLO, KEY, client_of, error_of
from .scripted import Scripted


@pytest.fixture
def client() -> TestClient:
    return client_of()


def test_health_needs_no_key_and_tells_nothing(client: TestClient) -> None:
    response = client.get("/healthz", headers={"Authorization": ""})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_models_are_listed(client: TestClient) -> None:
    listing = client.get("/v1/models").json()
    assert [entry["id"] for entry in listing["data"]] == ["m", "run/1"]
    for entry in listing["data"]:
        assert client.get(f"/v1/models/{entry['id'].replace('/', '%2F')}").json() == entry
    fault = error_of(client.get("/v1/models/run/2"), 404)
    assert (fault["code"], fault["param"]) == ("model_not_found", "model")
    assert "there is no model 'run/2' here" in fault["message"]


@pytest.mark.parametrize("key", ["", "Bearer ", "Bearer wrong", "wrong", f"Basic {KEY}", f"Bearer {KEY}x"])
def test_every_route_but_health_needs_the_key(client: TestClient, key: str) -> None:
    assert isinstance(client.app, Starlette)
    plain = [route for route in client.app.routes if isinstance(route, Route)]
    assert len(plain) == len(client.app.routes) >= 3
    routes = [(method, route.path) for route in plain for method in route.methods or ()]
    for method, path in [*routes, ("GET", "/docs"), ("GET", "/nowhere")]:
        response = client.request(method, path, headers={"Authorization": key.encode()})  # type: ignore[dict-item]
        if path in OPEN_PATHS or method == "HEAD":
            assert response.status_code == (200 if path in OPEN_PATHS else 401)
        else:
            assert error_of(response, 401)["code"] == "invalid_api_key"


@pytest.mark.parametrize("key", [KEY, f"Bearer {KEY}", f"bearer  {KEY}"])
def test_the_key_is_taken_with_and_without_bearer(client: TestClient, key: str) -> None:
    assert client.get("/v1/models", headers={"Authorization": key.encode()}).status_code == 200  # type: ignore[dict-item]


@pytest.mark.parametrize("key", ["", " padded "])
def test_a_key_that_cannot_be_sent_is_refused(key: str) -> None:
    with pytest.raises(Refusal, match="key"):
        build_app(Scripted(), key)


@pytest.mark.parametrize(
    ("bound", "host", "status"),
    [
        ("127.0.0.1", "localhost:8800", 200),
        ("127.0.0.1", "127.0.0.1", 200),
        ("127.0.0.1", "[::1]:8800", 200),
        ("127.0.0.1", "evil.example", 421),
        ("127.0.0.1", "localhost.evil.example:8800", 421),
        ("127.0.0.1", "x@localhost", 421),
        ("127.0.0.1", "10.0.0.5:8800", 421),
        ("10.0.0.5", "10.0.0.5:8800", 200),
        ("studio.lan", "Studio.LAN:8800", 200),
        ("0.0.0.0", "10.0.0.5:8800", 200),
        ("0.0.0.0", "evil.example", 421),
        ("::", "[fd00::5]:8800", 200),
        ("127.0.0.1", "", 421),
    ],
)
def test_only_own_host_names(bound: str, host: str, status: int) -> None:
    response = client_of(host=bound).get("/v1/models", headers={"Host": host})
    assert response.status_code == status
    if status == 421:
        assert client_of(host=bound).get("/healthz", headers={"Host": host}).status_code == 421


def test_bound_to_a_name_its_address_is_own_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.168.1.5", 0))]
    monkeypatch.setattr("socket.getaddrinfo", lambda host, _: found if host == "quarry.lan" else [])
    for host, status in (("quarry.lan:8800", 200), ("192.168.1.5:8800", 200), ("192.168.1.6:8800", 421)):
        assert client_of(host="quarry.lan").get("/v1/models", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8800", 200),
        ("http://evil.example", 403),
        ("http://127.0.0.1:9999", 403),
        ("http://127.0.0.1", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_pages_of_other_origins_are_kept_out(client: TestClient, origin: str, status: int) -> None:
    response = client.get("/v1/models", headers={"Origin": origin})
    assert response.status_code == status
    assert "access-control-allow-origin" not in response.headers
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    assert client.options(CHAT, headers=preflight).status_code == (405 if status == 200 else 403)


def test_pages_of_allowed_origins_may_ask() -> None:
    client = client_of(cors=("https://Studio.example", "http://localhost:5173"))
    allowed = {"Origin": "http://localhost:5173"}
    preflight = {**allowed, "Access-Control-Request-Method": "POST", "Authorization": ""}
    response = client.options(CHAT, headers=preflight)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert "authorization" in response.headers["access-control-allow-headers"]
    for key, status in ((KEY, 200), ("wrong", 401)):
        response = client.get("/v1/models", headers={**allowed, "Authorization": key.encode()})  # type: ignore[dict-item]
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
        assert response.headers["vary"] == "Origin"
    assert client.get("/v1/models").headers["vary"] == "Origin"
    for origin in ("http://evil.example", "null", "https://studio.example:444", "http://localhost"):
        response = client.get("/v1/models", headers={"Origin": origin})
        assert error_of(response, 403)["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in response.headers
        assert client.options(CHAT, headers={**preflight, "Origin": origin}).status_code == 403


@pytest.mark.parametrize("origin", ["*", "studio.example", "https://*.example", "https://studio.example/", ""])
def test_an_origin_that_browsers_do_not_send_is_refused(origin: str) -> None:
    with pytest.raises(Refusal, match="is no origin; use --cors"):
        client_of(cors=(origin,))


@pytest.mark.parametrize("levels", [63, 400, 1_000, 100_000])
def test_deep_bodies_are_refused(client: TestClient, levels: int) -> None:
    raw = b'{"model": "m", "messages": [], "metadata": ' + b"[" * levels + b"]" * levels + b"}"
    error = error_of(client.post(CHAT, content=raw, headers={"Content-Type": "application/json"}), 400)
    assert (error["code"], error["param"]) == (
        ("invalid_value", "messages") if levels == 63 else ("invalid_json", None)
    )


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff{}", b"[" * 100_000, rb'{"\ud800": 1}', b'{"seed": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_object_is_refused(client: TestClient, raw: bytes) -> None:
    error = error_of(client.post(CHAT, content=raw, headers={"Content-Type": "application/json"}), 400)
    assert error["code"] == "invalid_json"


def test_a_huge_body_is_refused_before_it_comes(client: TestClient) -> None:
    def body() -> Iterator[bytes]:
        yield b" "
        raise AssertionError("the body was read")

    headers = {"Content-Type": "application/json", "Content-Length": str(100 << 20)}
    assert error_of(client.post(CHAT, content=body(), headers=headers), 413)["code"] == "body_too_large"


def test_forms_and_huge_bodies_are_refused(client: TestClient) -> None:
    plain = {"Content-Type": "text/plain"}
    assert (
        error_of(client.post(CHAT, content=json.dumps(HELLO), headers=plain), 415)["code"] == "unsupported_media_type"
    )
    huge = {"model": "m", "messages": [{"role": "user", "content": "x" * (4 << 20)}]}
    assert error_of(client.post(CHAT, json=huge), 413)["code"] == "body_too_large"


def test_no_documentation_and_no_other_paths(client: TestClient) -> None:
    for path in ("/docs", "/redoc", "/v1/models/", "/v1/chat", "/"):
        error_of(client.get(path), 404)
    error_of(client.get(CHAT), 405)


def test_a_failure_is_told_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(Scripted(failure=ValueError("hello is private")))
    with caplog.at_level(logging.DEBUG):
        assert error_of(client.post(CHAT, json=HELLO), 500)["code"] == "internal_error"
        streamed = client.post(CHAT, json={**HELLO, "stream": True})
    assert '"internal_error"' in streamed.text
    assert "[DONE]" not in streamed.text
    assert "ValueError" in caplog.text
    assert "private" not in caplog.text + streamed.text
