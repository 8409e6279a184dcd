"""The engine for any OpenAI-compatible URL: what it sends, to whom, and what it makes of failures."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.serve import openai_engine
from carrara.serve.engine import ChatRequest, ToolCall, Tools, Unavailable
from carrara.serve.openai_engine import OpenAIEngine, _Wire, open_client
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


@contextmanager
def silent(*lines: str) -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """A server that answers with these lines and then with nothing; yields also when it is asked, and left."""
    asked, gone = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(b'HTTP/1.1 200 OK\r\n\r\n{"data": [{"id": "m"}]}')

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write("".join(lines).encode())
            asked.set()
            if not self.rfile.read(1):
                gone.set()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked, gone
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("lines", [(), ("HTTP/1.1 200 OK\r\n\r\n",), ("HTTP/1.1 200 OK\r\n\r\n", ": ping\n\n")])
def test_a_client_that_leaves_frees_a_server_that_is_silent(lines: tuple[str, ...]) -> None:
    """Before it has answered at all, and between two pieces."""
    with silent(*lines) as (url, asked, gone):
        asking = OpenAIEngine(url)
        assert chat(asking, "m", "hello", cancelled=asked.is_set) == []
        assert gone.wait(1)
        asking.close()


def test_a_client_that_leaves_ends_an_answer_without_pieces() -> None:
    """The lines go on, and none of them is a piece."""
    asked, left = 0, threading.Event()

    def lines() -> Iterator[str]:
        nonlocal asked
        while asked < 1000:
            asked += 1
            if asked == 5:
                wire.cut()
                left.set()
            yield ": ping"

    wire = _Wire()
    assert list(wire.until_cut(lines())) == [": ping"] * 4
    assert (asked, left.is_set()) == (5, True)


def test_too_many_at_once_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_engine, "_LIMITS", httpx2.Limits(max_connections=1, max_keepalive_connections=0))
    monkeypatch.setattr(openai_engine, "_TIMEOUT", httpx2.Timeout(600.0, pool=0.1))
    with silent('HTTP/1.1 200 OK\r\n\r\ndata: {"choices": [{"delta": {"content": "a"}}]}\n\n') as (url, _, _):
        asking = OpenAIEngine(url)
        first = asking.answer(ChatRequest(model="m", messages=(Message("user", "hello"),)), lambda: False)
        assert next(first).text == "a"
        with pytest.raises(Unavailable, match="is asked by too many at once; ask again later") as refused:
            chat(asking, "m", "hello")
        asking.close()
    assert refused.value.retry_after == 5


@pytest.mark.parametrize(
    ("told", "calls", "ending"),
    [
        ("stop", False, "stop"),
        ("eos_token", False, "stop"),
        ("length", False, "length"),
        ("length", True, "length"),
        ("stop", True, "tool_calls"),
        ("tool_calls", True, "tool_calls"),
        ("content_filter", False, None),
        ("abort", True, None),
        (["stop"], False, None),
    ],
)
def test_an_answer_looks_complete_only_if_it_is(told: Any, calls: bool, ending: str | None) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "x", "arguments": "{}"}}
    delta = {"content": "a", "tool_calls": [call] if calls else None}
    event = json.dumps({"choices": [{"delta": delta, "finish_reason": told}], "error": None})
    with saying(200, f"data: {event}\n\ndata: [DONE]\n\n") as url:
        pieces = OpenAIEngine(url).answer(ChatRequest(model="m", messages=()), lambda: False)
        assert next(pieces).text == "a"
        if ending:
            assert next(pieces).finish_reason == ending
        else:
            with pytest.raises(Unavailable):
                next(pieces)


def test_what_was_filtered_is_told() -> None:
    with (
        saying(200, 'data: {"choices": [{"delta": {}, "finish_reason": "content_filter"}]}\n\n') as url,
        pytest.raises(Unavailable, match="broke the answer off for the reason 'content_filter'; tell whoever") as told,
    ):
        chat(OpenAIEngine(url), "m", "hello")
    assert told.value.retry_after is None


@pytest.mark.parametrize(
    ("status", "body", "sentence", "wait"),
    [
        (400, '{"error": {"message": "the field x is wrong"}}', "refuses the request: the field x is wrong", "no"),
        (404, "{}", "refuses the request: status 404", "no"),
        (401, "{}", "does not accept the key; tell whoever runs this server.$", None),
        (429, "slow down", "refuses the request: status 429", 7),
        (302, "", "refuses the request: status 302", None),
        (500, '{"error": "no"}', "refuses the request: status 500", 7),
        (200, "", "does not answer as OpenAI's servers do .the answer breaks off", None),
        (200, "data: {nonsense\n\n", "does not answer as OpenAI's servers do", None),
        (200, 'data: {"choices": [{"delta": {"content": "a"}}]}\n\n', "the answer breaks off", None),
        (200, 'data: {"choices": 5}\n\n', "does not answer as OpenAI's servers do", None),
        (200, "data: [5]\n\n", "does not answer as OpenAI's servers do .*; tell whoever runs this server.$", None),
        (200, 'data: {"choices": [{"delta": null}]}\n\n', "does not answer as OpenAI's servers do", None),
        (200, 'data: {"choices": [{"delta": {"content": 5}}]}\n\n', "does not answer as OpenAI's servers do", None),
        (200, f"data: {'[' * 100_000}\n\n", "does not answer as OpenAI's servers do", None),
        (
            200,
            'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": "x"}]}}]}\n\n',
            "does not answer as OpenAI's servers do",
            None,
        ),
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


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        '{"data": [{"index": 0}], "usage": {}}',
        '{"data": 5}',
        "nonsense",
        '{"data": [{"index": 0, "embedding": ["a"]}]}',
    ],
)
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


def test_that_a_prompt_is_too_long_is_told_as_by_the_server_behind() -> None:
    told = '{"error": {"message": "it is too long", "code": "context_length_exceeded", "param": "messages"}}'
    with saying(400, told) as url:
        error = error_of(client_of(OpenAIEngine(url)).post(CHAT, json=HELLO), 400)
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert "it is too long" in error["message"]


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
        with pytest.raises(Refusal, match=r"does not accept the key; check the URL and .* variable SOME_KEY"):
            OpenAIEngine(url, "SOME_KEY")
        monkeypatch.setenv("SOME_KEY", f" {KEY}\n")
        OpenAIEngine(url, "SOME_KEY").close()


@pytest.mark.parametrize("key", ["secret\r\nX-Evil: 1", "secret\x00", "sécret", "“secret”"])
def test_a_key_that_is_none_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr("os.environ", {"SOME_KEY": key})
    with pytest.raises(Refusal, match="the key in SOME_KEY has a character that no key has") as refused:
        open_client("https://example.org/v1", "SOME_KEY")
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.3.2.1/v1", True),
        ("http://[::1]:1/v1", True),
        ("http://LOCALHOST/v1", True),
        ("https://example.org/v1", True),
        ("http://example.org/v1", False),
        ("http://192.168.0.1/v1", False),
        ("http://localhost.example.org/v1", False),
    ],
)
def test_a_key_crosses_no_network_in_the_clear(url: str, fine: bool) -> None:
    open_client(url, None).close()
    if fine:
        open_client(url, "SOME_KEY").close()
    else:
        with pytest.raises(Refusal, match="would get the key of SOME_KEY unencrypted; use https, or a server of this"):
            open_client(url, "SOME_KEY")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:9/v1", "http://[", "http://[x/v1", "http://localhost:abc/v1", "nonsense", "ftp://127.0.0.1/v1"],
)
def test_nobody_there_is_told(url: str) -> None:
    with pytest.raises(Refusal, match="check the URL"):
        OpenAIEngine(url)
