"""`/v1/chat/completions`: what may be asked there, and what comes back."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any, get_args, get_type_hints

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from starlette.testclient import TestClient

from carrara.errors import Refusal
from carrara.serve.answered import Answered
from carrara.serve.engine import Interrupted, Unavailable
from carrara.serve.roles import add_role, find_role
from carrara.serve.transformers_engine import TransformersEngine
from carrara.workspace import Workspace

from .asking import CHAT, HELLO, client_of, error_of, events_of
from .scripted import Scripted


@pytest.fixture
def client() -> TestClient:
    return client_of()


def test_a_whole_answer(client: TestClient) -> None:
    answer = client.post(CHAT, json=HELLO).json()
    assert answer["object"] == "chat.completion"
    choice = answer["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "Hello wörld", "refusal": None}
    assert choice["finish_reason"] == "stop"
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_streamed_answer(client: TestClient, include_usage: bool) -> None:
    options = {"include_usage": include_usage}
    events = events_of(client.post(CHAT, json={**HELLO, "stream": True, "stream_options": options}))
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
        whole = client.post(CHAT, json=body).json()["choices"][0]
        choices = [event["choices"][0] for event in events_of(client.post(CHAT, json={**body, "stream": True}))]
        assert "".join(choice["delta"].get("content", "") for choice in choices) == whole["message"]["content"]
        assert choices[-1]["finish_reason"] == whole["finish_reason"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages.0"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages.0.role"),
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
        ({"n": 0}, "n"),
        ({"n": 9}, "n"),
        ({"n": 16384}, "n"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"logprobs": 3}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.json_schema.schema",
        ),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"frequency_penalty": False}, "frequency_penalty"),
        ({"store": 0}, "store"),
        ({"presence_penalty": float("nan")}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"store": True}, "store"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client: TestClient, change: dict[str, Any], param: str) -> None:
    raw = json.dumps({**HELLO, **change}).encode()
    error = error_of(client.post(CHAT, content=raw, headers={"Content-Type": "application/json"}), 400)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert param in error["message"]


def test_missing_fields_are_named(client: TestClient) -> None:
    assert error_of(client.post(CHAT, json={"model": "m"}), 400)["param"] == "messages"
    assert error_of(client.post(CHAT, json={"messages": HELLO["messages"]}), 400)["param"] == "model"


def test_several_answers_to_one_request() -> None:
    engine = Scripted()
    client = client_of(engine)
    answer = client.post(CHAT, json={**HELLO, "n": 3, "seed": 2**63 - 2}).json()
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in answer["choices"]} == {"Hello wörld"}
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}
    assert [request.seed for request in engine.asked] == [2**63 - 2, 2**63 - 1, -(2**63)]
    options = {"include_usage": True}
    events = events_of(client.post(CHAT, json={**HELLO, "n": 2, "stream": True, "stream_options": options}))
    choices = [choice for event in events for choice in event["choices"]]
    for index in (0, 1):
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert "".join(choice["delta"].get("content", "") for choice in own) == "Hello wörld"
        assert [choice["finish_reason"] for choice in own] == [None, None, None, "stop"]
    assert events[-1]["usage"]["completion_tokens"] == 4


def test_log_probabilities() -> None:
    client = client_of(Scripted(("Hé", "llo")))
    body = {**HELLO, "logprobs": True, "top_logprobs": 1}
    content = client.post(CHAT, json=body).json()["choices"][0]["logprobs"]["content"]
    likely = {"token": "?", "logprob": -1.5, "bytes": [63]}
    assert content == [
        {"token": "Hé", "logprob": -0.5, "bytes": [72, 195, 169], "top_logprobs": [likely]},
        {"token": "llo", "logprob": -0.5, "bytes": [108, 108, 111], "top_logprobs": [likely]},
    ]
    events = events_of(client.post(CHAT, json={**body, "stream": True}))
    streamed = [event["choices"][0]["logprobs"] for event in events]
    assert [part["content"] for part in streamed if part] == [[token] for token in content]
    plain = client.post(CHAT, json={**HELLO, "logprobs": True}).json()["choices"][0]["logprobs"]["content"]
    assert [token["top_logprobs"] for token in plain] == [[], []]


def test_a_schema_reaches_the_engine() -> None:
    engine = Scripted()
    client = client_of(engine)
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": "integer"}}}
    named = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    for wanted in (named, {"type": "json_object"}, {"type": "text"}):
        assert client.post(CHAT, json={**HELLO, "response_format": wanted}).status_code == 200
    assert [request.schema for request in engine.asked] == [schema, {"type": "object"}, None]


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        (_nested(40), "deeper than 32"),
        ({"enum": ["x" * 70_000]}, "longer than 64 KiB"),
        ({"anyOf": [{"$ref": "http://evil.example/schema"}]}, r"\$ref"),
        ({"anyOf": [{"$ref": "file:///etc/passwd"}]}, r"\$ref"),
    ],
)
def test_schemas_that_cost_too_much_or_lead_elsewhere_are_refused(
    client: TestClient, schema: dict[str, Any], word: str
) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    error = error_of(client.post(CHAT, json={**HELLO, "response_format": wanted}), 400)
    assert error["param"] == "response_format"
    assert re.search(word, error["message"])


@pytest.mark.parametrize(
    ("field", "settings", "param"),
    [
        ("schema", {"response_format": {"type": "json_object"}}, "response_format"),
        ("top_logprobs", {"logprobs": True}, "logprobs"),
    ],
)
def test_what_the_engine_cannot_do_is_named_as_the_client_named_it(
    field: str, settings: dict[str, Any], param: str
) -> None:
    error = error_of(client_of(Scripted(cannot=(field,))).post(CHAT, json={**HELLO, **settings}), 400)
    assert (error["code"], error["param"]) == ("unsupported_parameter", param)
    assert f"scripted does not support '{param}'" in error["message"]


def test_harmless_fields_change_nothing() -> None:
    engine = Scripted()
    harmless = {
        "user": "u", "metadata": {"a": "b"}, "store": False, "n": 1, "tools": [], "logprobs": False, "logit_bias": {},
        "response_format": {"type": "text"}, "frequency_penalty": 0.0, "presence_penalty": None, "service_tier": "auto",
        "parallel_tool_calls": True, "tool_choice": "auto", "modalities": ["text"], "stream_options": None,
        "stop": None, "temperature": None, "top_p": None, "seed": None, "max_tokens": None, "stream": None,
    }  # fmt: skip
    client = client_of(engine)
    assert client.post(CHAT, json={**HELLO, **harmless}).status_code == 200
    assert client.post(CHAT, json=HELLO).status_code == 200
    assert engine.asked[0] == engine.asked[1]


def test_every_field_of_the_openai_client_is_known(client: TestClient) -> None:
    for field in get_type_hints(CompletionCreateParamsNonStreaming):
        response = client.post(CHAT, json={**HELLO, field: {"made": "up"}})
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
    assert client_of(engine).post(CHAT, json={"model": "run/1", "messages": messages, **settings}).status_code == 200
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
    client.post(CHAT, json=HELLO)
    client.post(CHAT, json=own)
    assert [request.messages[0].content for request in engine.asked] == ["a poet", "mine"]
    assert [len(request.messages) for request in engine.asked] == [2, 2]


def test_a_stored_role_is_chosen_with_the_model() -> None:
    engine = Scripted()

    def role(name: str) -> str:
        if name != "poet":
            raise Refusal(f"there is no role '{name}' (stored: poet)")
        return "You rhyme."

    answered: list[Answered] = []
    client = client_of(engine, role="a baker", roles=role, on_answer=answered.append)
    own = [{"role": "system", "content": "mine"}, *HELLO["messages"]]
    for model, messages in (("m@poet", HELLO["messages"]), ("m", HELLO["messages"]), ("run/1", own)):
        assert client.post(CHAT, json={"model": model, "messages": messages}).json()["model"] == model.split("@")[0]
    assert [request.model for request in engine.asked] == [each.model for each in answered] == ["m", "m", "run/1"]
    assert [request.messages[0].content for request in engine.asked] == ["You rhyme.", "a baker", "mine"]
    assert [each.role for each in answered] == ["poet", "", ""]
    error = error_of(client.post(CHAT, json={"model": "run/1@poet", "messages": own}), 400)
    assert (error["code"], error["param"]) == ("invalid_value", "messages")
    assert error["message"] == (
        "the model 'run/1@poet' asks for the role 'poet', and the messages bring a system prompt of their own; "
        "leave that out, or ask for the model 'run/1'."
    )
    assert len(engine.asked) == 3
    error = error_of(client.post(CHAT, json={**HELLO, "model": "m@pilot"}), 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert error["message"] == "there is no role 'pilot' (stored: poet)"
    assert (answered[-1].model, answered[-1].reason) == ("m@pilot", "model_not_found")
    for model in ("x@poet", "poet", "@poet", "m@poet@poet"):
        assert "there is no model" in error_of(client.post(CHAT, json={**HELLO, "model": model}), 404)["message"]
    assert "@" not in client.get("/v1/models").text


def test_roles_are_those_of_the_workspace_while_it_is_served(workspace: Workspace) -> None:
    engine = Scripted()
    client = client_of(engine, roles=partial(find_role, workspace))
    body = {**HELLO, "model": "m@poet"}
    assert "stored: none yet" in error_of(client.post(CHAT, json=body), 404)["message"]
    add_role(workspace, "poet", "You rhyme.")
    assert client.post(CHAT, json=body).status_code == 200
    assert engine.asked[0].messages[0].content == "You rhyme."
    for name in ("../poet", "POET", "", "a" * 200):
        error = error_of(client.post(CHAT, json={**HELLO, "model": f"m@{name}"}), 404)
        assert "cannot be the name of a role" in error["message"]


def test_without_roles_an_at_sign_is_a_part_of_the_name(client: TestClient) -> None:
    assert "no model 'm@poet'" in error_of(client.post(CHAT, json={**HELLO, "model": "m@poet"}), 404)["message"]


@pytest.mark.parametrize(
    ("failure", "code", "wait"),
    [
        (Unavailable("m is withdrawn; export it again."), "engine_unavailable", None),
        (Unavailable("the server is busy; ask again.", 7), "engine_unavailable", "7"),
        (Interrupted(), "engine_restarting", "1"),
    ],
)
def test_faults_of_the_server_are_told_as_such(failure: Unavailable, code: str, wait: str | None) -> None:
    response = client_of(Scripted(failure=failure)).post(CHAT, json=HELLO)
    error = error_of(response, 503)
    assert (error["code"], error["type"], error["message"]) == (code, "server_error", str(failure))
    assert response.headers.get("retry-after") == wait
    assert error_of(client_of(Scripted(failure=Refusal("no; stop."))).post(CHAT, json=HELLO), 400)["message"]


def test_an_unknown_model_is_404_also_when_streaming(client: TestClient) -> None:
    for stream in (False, True):
        error = error_of(client.post(CHAT, json={**HELLO, "model": "gpt-9", "stream": stream}), 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_too_long_a_prompt_is_told_with_the_numbers(engine: TransformersEngine) -> None:
    client = client_of(engine)
    body = {"model": "base", "messages": [{"role": "user", "content": "x" * 400}], "stream": True}
    error = error_of(client.post(CHAT, json=body), 400)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "409 tokens" in error["message"]
    assert "256" in error["message"]
    error = error_of(client.post(CHAT, json={**HELLO, "model": "base", "max_tokens": 1000}), 400)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "max_tokens")


def test_known_roles_are_those_of_the_protocol() -> None:
    from openai.types.chat import ChatCompletionRole

    assert set(get_args(ChatCompletionRole)) - {"function"} == {"developer", "system", "user", "assistant", "tool"}
