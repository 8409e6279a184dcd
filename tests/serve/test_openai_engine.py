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
from carrara.serve.engine import ChatRequest
from carrara.serve.openai_engine import OpenAIEngine
from carrara.serve.transformers_engine import TransformersEngine

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
    ("status", "body", "sentence"),
    [
        (400, '{"error": {"message": "the field x is wrong"}}', "refuses the request: the field x is wrong"),
        (401, "{}", "does not accept the key"),
        (429, "slow down", "refuses the request: status 429"),
        (302, "", "refuses the request: status 302"),
        (500, '{"error": "no"}', "refuses the request: status 500"),
        (200, "", "does not answer as OpenAI's servers do .the answer breaks off"),
        (200, "data: {nonsense\n\n", "does not answer as OpenAI's servers do"),
        (200, 'data: {"choices": [{"delta": {"content": "a"}}]}\n\n', "the answer breaks off"),
        (200, 'data: {"choices": 5}\n\n', "does not answer as OpenAI's servers do"),
        (200, 'data: {"error": {"message": "out of memory"}}\n\n', "breaks off: out of memory"),
    ],
)
def test_failures_become_sentences(status: int, body: str, sentence: str) -> None:
    with saying(status, body) as url, pytest.raises(Refusal, match=sentence):
        chat(OpenAIEngine(url), "m", "hello")


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
