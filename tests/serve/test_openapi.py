"""The OpenAPI document tells the truth: what it allows is answered, what it forbids is refused, in its words."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from .asking import client_of
from .scripted import Scripted

AUTH = {"Authorization": "key"}
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
OPERATIONS = [
    ("/v1/chat/completions", "POST"),
    ("/v1/completions", "POST"),
    ("/v1/embeddings", "POST"),
    ("/v1/models", "GET"),
    ("/v1/models/{model}", "GET"),
    ("/openapi.json", "GET"),
    ("/metrics", "GET"),
    ("/healthz", "GET"),
]


@functools.cache
def api() -> Any:
    """An engine without a limit to its context, since the document does not know the limit of a real one."""
    client = client_of(Scripted(context=2**70), keys="key", host="testserver", waiting=64)
    keyless = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
    return schemathesis.openapi.from_asgi("/openapi.json", client.app, headers=AUTH, config=keyless)


def test_every_route_is_in_the_document() -> None:
    client = client_of()
    routes = {route.path.replace(":path", "") for route in client.app.routes if isinstance(route, Route)}  # type: ignore[attr-defined]
    found = client.get("/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    assert routes == set(found["paths"]) == {path for path, _ in OPERATIONS}
    assert found["components"]["schemas"]["ChatBody"]["properties"]["model"] == {"enum": ["m", "run/1"]}


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_the_document_allows_is_answered_in_its_words(path: str, method: str) -> None:
    def check(case: Any) -> None:
        if isinstance(case.body, dict):  # what the descriptions say, since the schema cannot
            assume(case.body.get("logprobs") or not case.body.get("top_logprobs"))
            assume(len({case.body.get(name) for name in ("max_tokens", "max_completion_tokens")} - {None}) < 2)
            assume(_tools_fit(case.body))
        response = case.call_and_validate(headers=AUTH, checks=CHECKS)
        assert response.status_code == 200, (case.body, response.text)

    try_out(path, method, GenerationMode.POSITIVE, check)


def _tools_fit(body: dict[str, Any]) -> bool:
    """Whether tools differ in name, the choice is one of them, and a tool's message answers a call before it."""
    names = [tool["function"]["name"] for tool in body.get("tools") or ()]
    choice, called = body.get("tool_choice"), list[str]()
    for message in body.get("messages", ()):
        if message["role"] != "tool":
            called = [call["id"] for call in message.get("tool_calls") or ()]
        elif message["tool_call_id"] not in called:
            return False
    chosen = choice["function"]["name"] in names if isinstance(choice, dict) else choice != "required" or bool(names)
    return chosen and len(set(names)) == len(names)


@pytest.mark.parametrize(("path", "method"), [operation for operation in OPERATIONS if operation[1] == "POST"])
def test_what_the_document_forbids_is_refused_in_its_words(path: str, method: str) -> None:
    def check(case: Any) -> None:
        response = case.call_and_validate(headers=AUTH, checks=CHECKS)
        assert 400 <= response.status_code < 500, (case.body, response.text)

    try_out(path, method, GenerationMode.NEGATIVE, check)


def try_out(path: str, method: str, mode: GenerationMode, check: Callable[[Any], None]) -> None:
    limited = settings(
        max_examples=30 if method == "POST" else 2,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    limited(given(api()[path][method].as_strategy(generation_mode=mode))(check))()
