"""The gateway over HTTP, without a network: who may ask, what may be asked, and what comes back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

import pytest
from fastapi import FastAPI
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from starlette.routing import Route
from starlette.testclient import TestClient

from carrara.errors import Refusal
from carrara.serve.gateway import build_app
from carrara.serve.guard import OPEN_PATHS
from carrara.serve.transformers_engine import TransformersEngine

from .scripted import Scripted

KEY = "s3cret-ключ"
URL = "/v1/chat/completions"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def client_of(engine: Any = None, **settings: Any) -> TestClient:
    app = build_app(engine or Scripted(), KEY, **settings)
    headers = {"Authorization": f"Bearer {KEY}".encode()}
    return TestClient(app, base_url="http://127.0.0.1:8800", headers=headers)  # type: ignore[arg-type]


@pytest.fixture
def client() -> TestClient:
    return client_of()


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


def test_health_needs_no_key_and_tells_nothing(client: TestClient) -> None:
    response = client.get("/healthz", headers={"Authorization": ""})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_models_are_listed(client: TestClient) -> None:
    listing = client.get("/v1/models").json()
    assert [entry["id"] for entry in listing["data"]] == ["m", "run/1"]


def test_a_whole_answer(client: TestClient) -> None:
    answer = client.post(URL, json=HELLO).json()
    assert answer["object"] == "chat.completion"
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "Hello wörld", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_streamed_answer(client: TestClient, include_usage: bool) -> None:
    options = {"include_usage": include_usage}
    events = events_of(client.post(URL, json={**HELLO, "stream": True, "stream_options": options}))
    counts = [event.get("usage") for event in events if event.get("usage")]
    choices = [choice for event in events for choice in event["choices"]]
    assert [choice["delta"].get("content") for choice in choices] == ["", "Hello", " wörld", None]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert counts == ([{"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}] if include_usage else [])
    assert len({event["id"] for event in events}) == 1


def test_streamed_and_whole_answers_of_a_network_are_the_same(engine: TransformersEngine) -> None:
    client = client_of(engine)
    for name in engine.models():
        body = {**HELLO, "model": name, "temperature": 0, "max_tokens": 20}
        whole = client.post(URL, json=body).json()["choices"][0]
        choices = [event["choices"][0] for event in events_of(client.post(URL, json={**body, "stream": True}))]
        assert "".join(choice["delta"].get("content", "") for choice in choices) == whole["message"]["content"]
        assert choices[-1]["finish_reason"] == whole["finish_reason"]


@pytest.mark.parametrize("key", ["", "Bearer ", "Bearer wrong", "wrong", f"Basic {KEY}", f"Bearer {KEY}x"])
def test_every_route_but_health_needs_the_key(client: TestClient, key: str) -> None:
    assert isinstance(client.app, FastAPI)
    plain = [route for route in client.app.routes if isinstance(route, Route)]
    assert len(plain) == len(client.app.routes) >= 3
    routes = [(method, route.path) for route in plain for method in route.methods or ()]
    for method, path in [*routes, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/nowhere")]:
        response = client.request(method, path, headers={"Authorization": key.encode()})  # type: ignore[dict-item]
        if path in OPEN_PATHS:
            assert response.status_code == 200
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
    assert client.options(URL, headers=preflight).status_code == (405 if status == 200 else 403)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages.0"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": [], "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": []}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "x", "name": "Bob"}]}, "messages.0.name"),
        ({"messages": [{"role": "user", "content": "x", "mood": "?"}]}, "messages.0.mood"),
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"temprature": 0.5}, "temprature"),
        ({"top_k": 5}, "top_k"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": float("nan")}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"stop": ""}, "stop.0"),
        ({"stop": ["a", 1]}, "stop.1"),
        ({"stop": list("abcde")}, "stop"),
        ({"stop": ["a" * 1001]}, "stop.0"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"usage": True}}, "stream_options.usage"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": float("nan")}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"store": True}, "store"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client: TestClient, change: dict[str, Any], param: str) -> None:
    raw = json.dumps({**HELLO, **change}).encode()
    error = error_of(client.post(URL, content=raw, headers={"Content-Type": "application/json"}), 400)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert param in error["message"]


def test_missing_fields_are_named(client: TestClient) -> None:
    assert error_of(client.post(URL, json={"model": "m"}), 400)["param"] == "messages"
    assert error_of(client.post(URL, json={"messages": HELLO["messages"]}), 400)["param"] == "model"


def test_harmless_fields_change_nothing() -> None:
    engine = Scripted()
    harmless = {
        "user": "u", "metadata": {"a": "b"}, "store": False, "n": 1, "tools": [], "logprobs": False, "logit_bias": {},
        "response_format": {"type": "text"}, "frequency_penalty": 0.0, "presence_penalty": None, "service_tier": "auto",
        "parallel_tool_calls": True, "tool_choice": "auto", "modalities": ["text"], "stream_options": None,
        "stop": None, "temperature": None, "top_p": None, "seed": None, "max_tokens": None, "stream": None,
    }  # fmt: skip
    client = client_of(engine)
    assert client.post(URL, json={**HELLO, **harmless}).status_code == 200
    assert client.post(URL, json=HELLO).status_code == 200
    assert engine.asked[0] == engine.asked[1]


def test_every_field_of_the_openai_client_is_known(client: TestClient) -> None:
    for field in get_type_hints(CompletionCreateParamsNonStreaming):
        response = client.post(URL, json={**HELLO, field: {"made": "up"}})
        assert response.status_code in (200, 400)
        if response.status_code == 400:
            error = response.json()["error"]
            assert (error["code"], error["param"]) != ("unknown_parameter", field)


def test_what_is_asked_reaches_the_engine() -> None:
    engine = Scripted()
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    replayed = {"role": "assistant", "content": "hi", "refusal": None, "annotations": [], "tool_calls": None}
    messages = [{"role": "developer", "content": "be short"}, {"role": "user", "content": parts}, replayed]
    settings = {"max_completion_tokens": 9, "temperature": 0, "top_p": 0.5, "seed": -3, "stop": "x"}
    assert client_of(engine).post(URL, json={"model": "run/1", "messages": messages, **settings}).status_code == 200
    asked = engine.asked[0]
    assert [(m.role, m.content) for m in asked.messages] == [
        ("system", "be short"),
        ("user", "one\ntwo"),
        ("assistant", "hi"),
    ]
    assert (asked.model, asked.max_tokens, asked.temperature, asked.top_p) == ("run/1", 9, 0.0, 0.5)
    assert (asked.seed, asked.stop) == (-3, ("x",))


def test_the_role_is_a_system_prompt_for_those_without() -> None:
    engine = Scripted()
    client = client_of(engine, role="a poet")
    own = {"model": "m", "messages": [{"role": "developer", "content": "mine"}, *HELLO["messages"]]}
    client.post(URL, json=HELLO)
    client.post(URL, json=own)
    assert [request.messages[0].content for request in engine.asked] == ["a poet", "mine"]
    assert [len(request.messages) for request in engine.asked] == [2, 2]


def test_an_unknown_model_is_404_also_when_streaming(client: TestClient) -> None:
    for stream in (False, True):
        error = error_of(client.post(URL, json={**HELLO, "model": "gpt-9", "stream": stream}), 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_too_long_a_prompt_is_told_with_the_numbers(engine: TransformersEngine) -> None:
    client = client_of(engine)
    body = {"model": "base", "messages": [{"role": "user", "content": "x" * 400}], "stream": True}
    error = error_of(client.post(URL, json=body), 400)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "409 tokens" in error["message"]
    assert "256" in error["message"]
    error = error_of(client.post(URL, json={**HELLO, "model": "base", "max_tokens": 1000}), 400)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "max_tokens")


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"\xff{}", b"[" * 100_000, rb'{"\ud800": 1}', b'{"seed": ' + b"9" * 5000 + b"}"]
)
def test_what_is_no_json_object_is_refused(client: TestClient, raw: bytes) -> None:
    error = error_of(client.post(URL, content=raw, headers={"Content-Type": "application/json"}), 400)
    assert error["code"] == "invalid_json"


def test_forms_and_huge_bodies_are_refused(client: TestClient) -> None:
    plain = {"Content-Type": "text/plain"}
    assert error_of(client.post(URL, content=json.dumps(HELLO), headers=plain), 415)["code"] == "unsupported_media_type"
    huge = {"model": "m", "messages": [{"role": "user", "content": "x" * (4 << 20)}]}
    assert error_of(client.post(URL, json=huge), 413)["code"] == "body_too_large"


def test_no_documentation_and_no_other_paths(client: TestClient) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/metrics", "/v1/models/", "/"):
        error_of(client.get(path), 404)
    error_of(client.get(URL), 405)


def test_a_failure_is_told_without_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(Scripted(failure=ValueError("hello is private")))
    with caplog.at_level(logging.DEBUG):
        assert error_of(client.post(URL, json=HELLO), 500)["code"] == "internal_error"
        streamed = client.post(URL, json={**HELLO, "stream": True})
    assert '"internal_error"' in streamed.text
    assert "[DONE]" not in streamed.text
    assert "ValueError" in caplog.text
    assert "private" not in caplog.text + streamed.text


def test_known_roles_are_those_of_the_protocol() -> None:
    from openai.types.chat import ChatCompletionRole

    assert set(get_args(ChatCompletionRole)) - {"tool", "function"} == {"developer", "system", "user", "assistant"}
