"""Tools over HTTP: what is taken, what is refused and how, and what the calls of an answer look like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carrara.serve.engine import ToolCall, Tools

from .asking import CHAT, HELLO, client_of, error_of, events_of
from .calling import ASKED, CALL, CALLED, WEATHER
from .scripted import Scripted

OFFER: dict[str, Any] = {"model": "m", "messages": ASKED, "tools": [WEATHER]}
FIRST, SECOND = ToolCall("c1", "weather", '{"city": "Pisa"}'), ToolCall("c2", "weather", '{"city": "Rom ä"}')


def function(**change: Any) -> dict[str, Any]:
    return {**OFFER, "tools": [{"type": "function", "function": {**WEATHER["function"], **change}}]}


def replayed(call: Any) -> dict[str, Any]:
    return {**OFFER, "messages": [*ASKED, {"role": "assistant", "content": None, "tool_calls": [call]}]}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def test_calls_in_a_whole_answer() -> None:
    told: list[Any] = []
    client = client_of(Scripted((), calls=(FIRST, SECOND)), on_answer=told.append)
    choice = client.post(CHAT, json=OFFER).json()["choices"][0]
    calls = [FIRST.to_json(), SECOND.to_json()]
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": None, "tool_calls": calls}
    assert choice["finish_reason"] == told[0].reason == "tool_calls"
    assert json.loads(f"[{told[0].said.replace('}{', '},{')}]") == calls
    assert json.loads(told[0].offered) == [WEATHER]
    both = client_of(Scripted(calls=(FIRST,))).post(CHAT, json=OFFER).json()["choices"][0]["message"]
    assert (both["content"], both["tool_calls"]) == ("Hello wörld", [FIRST.to_json()])


def test_calls_in_a_streamed_answer() -> None:
    client = client_of(Scripted(("I look.",), calls=(FIRST, SECOND)))
    events = events_of(client.post(CHAT, json={**OFFER, "stream": True, "n": 2}))
    for index in (0, 1):
        own = [choice for event in events for choice in event["choices"] if choice["index"] == index]
        assert [choice["delta"] for choice in own] == [
            {"role": "assistant", "content": ""},
            {"content": "I look."},
            {"tool_calls": [{"index": 0, **FIRST.to_json()}]},
            {"tool_calls": [{"index": 1, **SECOND.to_json()}]},
            {},
        ]
        assert [choice["finish_reason"] for choice in own] == [None] * 4 + ["tool_calls"]


def test_what_is_offered_reaches_the_engine_as_it_was_sent() -> None:
    engine = Scripted()
    client = client_of(engine)
    turned = {"function": dict(reversed(WEATHER["function"].items())), "type": "function"}
    named = {"type": "function", "function": {"name": "weather"}}
    body = {**OFFER, "tools": [turned], "tool_choice": named, "parallel_tool_calls": False}
    assert client.post(CHAT, json=body).status_code == 200
    assert engine.asked[0].tools == Tools((turned,), named, parallel=False)
    assert json.dumps(engine.asked[0].tools.functions[0]) == json.dumps(turned)
    assert client.post(CHAT, json=OFFER).status_code == 200
    assert engine.asked[1].tools == Tools((WEATHER,))
    assert client.post(CHAT, json={**OFFER, "tools": [], "tool_choice": "none"}).status_code == 200
    assert engine.asked[2].tools is None


def test_calls_and_their_answers_reach_the_engine() -> None:
    engine = Scripted()
    assert client_of(engine).post(CHAT, json={**OFFER, "messages": CALLED}).status_code == 200
    assert [(m.role, m.content, dict(m.extra)) for m in engine.asked[0].messages] == [
        ("user", "How is it in Pisa?", {}),
        ("assistant", "", {"tool_calls": [CALL]}),
        ("tool", "rain", {"tool_call_id": "c1"}),
    ]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**OFFER, "tools": "weather"}, "tools"),
        ({**OFFER, "tools": ["weather"]}, "tools.0"),
        ({**OFFER, "tools": [{"type": "retrieval"}]}, "tools.0.type"),
        ({**OFFER, "tools": [{**WEATHER, "mood": "?"}]}, "tools.0.mood"),
        ({**OFFER, "tools": [WEATHER] * 2}, "tools"),
        ({**OFFER, "tools": [WEATHER] * 129}, "tools"),
        (function(name=""), "tools.0.function.name"),
        (function(name="a b"), "tools.0.function.name"),
        (function(name="wetter\n"), "tools.0.function.name"),
        (function(name="ü"), "tools.0.function.name"),
        (function(name="a" * 65), "tools.0.function.name"),
        (function(description=5), "tools.0.function.description"),
        (function(parameters="{}"), "tools.0.function.parameters"),
        (function(parameters={"enum": ["x" * 100_000]}), "tools.0"),
        (function(description="x" * 100_000), "tools.0"),
        (function(parameters=nested(40)), "tools.0"),
        (function(parameters={"$ref": "http://evil.example/schema"}), "tools.0"),
        ({**OFFER, "tool_choice": "any"}, "tool_choice"),
        ({**OFFER, "tool_choice": ["auto"]}, "tool_choice"),
        ({**OFFER, "tool_choice": {"type": "function", "function": {"name": "rocket"}}}, "tool_choice"),
        ({**OFFER, "tool_choice": {"type": "function", "function": {"name": ["weather"]}}}, "tool_choice"),
        ({**OFFER, "tool_choice": {"type": "function", "name": "weather"}}, "tool_choice"),
        ({**HELLO, "tool_choice": "required"}, "tool_choice"),
        ({**OFFER, "parallel_tool_calls": "no"}, "parallel_tool_calls"),
        ({**OFFER, "messages": [*ASKED, CALLED[-1]]}, "messages.1.tool_call_id"),
        ({**OFFER, "messages": [*CALLED, {**CALLED[-1], "tool_call_id": "c2"}]}, "messages.3.tool_call_id"),
        ({**OFFER, "messages": [*CALLED, *ASKED, CALLED[-1]]}, "messages.4.tool_call_id"),
        ({**OFFER, "messages": [*CALLED[:2], {"role": "tool", "content": "x"}]}, "messages.2.tool_call_id"),
        ({**OFFER, "messages": [*CALLED[:2], {**CALLED[-1], "content": None}]}, "messages.2.content"),
        ({**OFFER, "messages": [{"role": "assistant", "content": None}]}, "messages.0.content"),
        ({**OFFER, "messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, "messages.0.content"),
        ({**OFFER, "messages": [{**ASKED[0], "tool_calls": [CALL]}]}, "messages.0.tool_calls"),
        ({**OFFER, "messages": [{**ASKED[0], "tool_call_id": "c1"}]}, "messages.0.tool_call_id"),
        ({**OFFER, "messages": [{"role": "assistant", "content": "", "tool_calls": CALL}]}, "messages.0.tool_calls"),
        (replayed("weather"), "messages.1.tool_calls.0"),
        (replayed({**CALL, "type": "custom"}), "messages.1.tool_calls.0"),
        (replayed({**CALL, "mood": "?"}), "messages.1.tool_calls.0"),
        (replayed({**CALL, "id": ""}), "messages.1.tool_calls.0.id"),
        (replayed({**CALL, "id": "c" * 257}), "messages.1.tool_calls.0.id"),
        (replayed({**CALL, "function": {"name": "weather"}}), "messages.1.tool_calls.0.function"),
        (replayed({**CALL, "function": {"name": "weather", "arguments": {}}}), "messages.1.tool_calls.0.function"),
        (replayed({**CALL, "function": {"name": "a b", "arguments": "{}"}}), "messages.1.tool_calls.0.function.name"),
        (
            replayed({**CALL, "function": {"name": "weather", "arguments": '{"a":' * 40 + "1" + "}" * 40}}),
            "messages.1.tool_calls.0.function.arguments",
        ),
        (
            replayed({**CALL, "function": {"name": "weather", "arguments": "[" * 10_000}}),
            "messages.1.tool_calls.0.function.arguments",
        ),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    engine = Scripted()
    error = error_of(client_of(engine).post(CHAT, json=body), 400)
    assert error["param"] == param
    assert param in error["message"]
    assert len(error["message"]) < 400
    assert engine.asked == []


def test_a_tool_nested_a_thousand_deep_is_refused() -> None:
    text = json.dumps(function(parameters={"x": 5})).replace('{"x": 5}', '{"items":' * 1000 + "{}" + "}" * 1000)
    response = client_of().post(CHAT, content=text.encode(), headers={"Content-Type": "application/json"})
    assert "nested deeper than 64 levels" in error_of(response, 400)["message"]
