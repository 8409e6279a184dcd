"""The engine for any OpenAI-compatible URL: what it sends, to whom, and what it makes of failures."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.serve.engine import ChatRequest, ToolCall, Tools, Unavailable
from carrara.serve.openai_engine import OpenAIEngine
from carrara.serve.transformers_engine import TransformersEngine

from .asking import CHAT, HELLO, client_of, error_of
from .calling import CALL, WEATHER
from .scripted import Scripted
from .standin import KEY, standing_in
from .test_contract import chat, resume, told


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)


@contextmanager
def saying(status: int, *parts: str, pause: float = 0.0) -> Iterator[str]:
    """A server that tells one model, and answers anything else with these parts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, '{"data": [{"id": "m"}]}')

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(status, *parts)

        def reply(self, code: int, *texts: str) -> None:
            self.send_response(code)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Retry-After", "7")
            self.end_headers()
            for text in texts:
                self.wfile.write(text.encode())
                self.wfile.flush()
                time.sleep(pause)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()


def test_nothing_is_sent_but_what_was_asked(engine: TransformersEngine) -> None:
    with standing_in(engine) as (url, seen, _):
        asking = OpenAIEngine(url, "SOME_KEY")
        chat(asking, "base", "hello", max_tokens=2, stop=("x",), seed=7)
        resume(asking, "base", "hello", max_tokens=2, top_logprobs=1)
        asking.close()
    assert [each["path"] for each in seen] == ["/v1/models", "/v1/chat/completions", "/v1/completions"]
    common = {"model": "base", "temperature": 0.0, "top_p": 1.0, "max_tokens": 2, "stream": True}
    common |= {"stream_options": {"include_usage": True}}
    messages = [{"role": "user", "content": "hello"}]
    assert seen[1]["body"] == {**common, "messages": messages, "stop": ["x"], "seed": 7}
    assert seen[2]["body"] == {**common, "prompt": "hello", "logprobs": 1}
    assert {each["headers"]["Authorization"] for each in seen} == {f"Bearer {KEY}"}


def test_a_schema_is_passed_on() -> None:
    from carrara.serve.openai_engine import _body

    body = _body(ChatRequest(model="m", messages=(), schema={"type": "object"}))
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": schema}


def test_tools_and_calls_are_passed_on_as_they_are() -> None:
    scripted = Scripted(("I look.",), calls=(ToolCall("c1", "weather", '{"city": "Pisa"}'), ToolCall("c2", "x", "{no")))
    named = {"type": "function", "function": {"name": "weather"}}
    messages = (
        Message("user", "How is it?"),
        Message("assistant", "", {"tool_calls": [CALL]}),
        Message("tool", "", {"tool_call_id": "c1"}),
    )
    with standing_in(scripted) as (url, seen, _):
        asking = OpenAIEngine(url, "SOME_KEY")
        request = ChatRequest(model="m", messages=messages, tools=Tools((WEATHER,), named, parallel=False))
        pieces = list(asking.answer(request, lambda: False))
        list(asking.answer(ChatRequest(model="m", messages=messages, tools=Tools((WEATHER,))), lambda: False))
        asking.close()
    assert told(pieces)[:2] == ("I look.", "tool_calls")
    assert pieces[-1].tool_calls == scripted.calls
    body = seen[1]["body"]
    assert body["tools"] == [WEATHER]
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (named, False)
    assert body["messages"] == [
        {"role": "user", "content": "How is it?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "", "tool_call_id": "c1"},
    ]
    assert not {"tool_choice", "parallel_tool_calls"} & seen[2]["body"].keys()


def test_texts_are_embedded_in_several_requests_that_can_be_given_up() -> None:
    scripted = Scripted()
    texts = ["x" * (1 + place % 2) for place in range(150)]
    with standing_in(scripted) as (url, seen, _):
        asking = OpenAIEngine(url, "SOME_KEY")
        assert asking.embed("m", texts, lambda: False) == scripted.embed("m", texts, lambda: False)
        assert [len(each["body"]["input"]) for each in seen[1:]] == [64, 64, 22]
        asking.embed("m", texts, lambda: len(seen) > 4)
        assert len(seen) == 5
        asking.close()


def test_a_client_that_leaves_hangs_up(engine: TransformersEngine) -> None:
    with standing_in(engine) as (url, _, gone):
        asking = OpenAIEngine(url, "SOME_KEY")
        request = ChatRequest(
            model="base", messages=(Message("user", "hello"),), max_tokens=240, temperature=1.5, seed=1
        )
        running = asking.answer(request, lambda: False)
        next(running)
        del running
        wait = gone.wait(5)
        asking.close()
    assert wait


def test_waiting_is_given_up_while_the_server_is_silent() -> None:
    with saying(200, ": nothing yet\n\n", ": still nothing\n\n", pause=1.5) as url:
        asking = OpenAIEngine(url)
        began = time.monotonic()
        assert chat(asking, "m", "hello", cancelled=lambda: time.monotonic() - began > 0.2) == []
        assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("status", "body", "sentence", "wait"),
    [
        (400, '{"error": {"message": "the field x is wrong"}}', "refuses the request: the field x is wrong", "no"),
        (404, "{}", "refuses the request: status 404", "no"),
        (401, "{}", "does not accept the key", None),
        (429, "slow down", "refuses the request: status 429", 7),
        (302, "", "refuses the request: status 302", None),
        (500, '{"error": "no"}', "refuses the request: status 500", 7),
        (200, "", "does not answer as OpenAI's servers do .the answer breaks off", None),
        (200, "data: {nonsense\n\n", "does not answer as OpenAI's servers do", None),
        (200, 'data: {"choices": [{"delta": {"content": "a"}}]}\n\n', "the answer breaks off", None),
        (200, 'data: {"choices": 5}\n\n', "does not answer as OpenAI's servers do", None),
        (200, 'data: {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}\n\n', "does not answer as OpenAI", None),
        (200, 'data: {"error": {"message": "out of memory"}}\n\n', "breaks off: out of memory", None),
    ],
)
def test_failures_become_sentences_that_say_whose_fault_it_is(
    status: int, body: str, sentence: str, wait: int | str | None
) -> None:
    """`wait` is when to come back, "no" where the request itself is at fault."""
    with saying(status, body) as url, pytest.raises(Refusal, match=sentence) as refused:
        chat(OpenAIEngine(url), "m", "hello")
    assert isinstance(refused.value, Unavailable) == (wait != "no")
    assert getattr(refused.value, "retry_after", "no") == wait


@pytest.mark.parametrize("body", ["{}", "[]", '{"data": [{"index": 0}], "usage": {}}', '{"data": 5}', "nonsense"])
def test_vectors_that_are_none_are_told(body: str) -> None:
    with saying(200, body) as url, pytest.raises(Unavailable, match="does not answer as OpenAI's servers do"):
        OpenAIEngine(url).embed("m", ["hello"], lambda: False)


def test_whoever_asks_a_gateway_is_told_that_the_server_behind_it_is_gone(engine: TransformersEngine) -> None:
    with standing_in(engine) as (url, _, _):
        client = client_of(OpenAIEngine(url, "SOME_KEY"))
    error = client.post(CHAT, json={**HELLO, "model": "base"})
    assert (error.status_code, error.headers["retry-after"]) == (503, "5")
    assert error_of(error, 503)["code"] == "engine_unavailable"
    embed = client.post("/v1/embeddings", json={"model": "base", "input": "hello"})
    assert error_of(embed, 503)["type"] == "server_error"


def test_an_answer_without_counts_is_told_without(engine: TransformersEngine) -> None:
    event = json.dumps({"choices": [{"delta": {"content": "hi"}, "finish_reason": "length"}]})
    with saying(200, f"data: {event}\n\ndata: [DONE]\n\n") as url:
        assert told(chat(OpenAIEngine(url), "m", "hello")) == ("hi", "length", None, None)


def test_a_missing_or_wrong_key_is_told(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with standing_in(engine) as (url, seen, _):
        with pytest.raises(Refusal, match="the environment variable NO_SUCH_KEY holds no key"):
            OpenAIEngine(url, "NO_SUCH_KEY")
        assert seen == []
        monkeypatch.setenv("SOME_KEY", "wrong")
        with pytest.raises(Refusal, match="does not accept the key"):
            OpenAIEngine(url, "SOME_KEY")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://[", "nonsense", "ftp://127.0.0.1/v1"])
def test_nobody_there_is_told(url: str) -> None:
    with pytest.raises(Refusal, match="check the URL"):
        OpenAIEngine(url)
