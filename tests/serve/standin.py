"""A server that speaks just enough of OpenAI's protocol, with an engine behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.serve.engine import ChatRequest, Engine, Piece, TextRequest, Tools

KEY = "a key for the stand-in"


def _request(path: str, body: dict[str, Any]) -> ChatRequest | TextRequest:
    form = (body.get("response_format") or {}).get("json_schema", {})
    common: dict[str, Any] = {
        "model": body["model"],
        "max_tokens": body.get("max_tokens"),
        "temperature": body["temperature"],
        "top_p": body["top_p"],
        "seed": body.get("seed"),
        "stop": tuple(body.get("stop", ())),
        "schema": form.get("schema"),
    }
    if path == "/v1/completions":
        return TextRequest(prompt=body["prompt"], top_logprobs=body.get("logprobs"), **common)
    messages = tuple(Message(each.pop("role"), each.pop("content") or "", each) for each in map(dict, body["messages"]))
    choice, parallel = body.get("tool_choice", "auto"), body.get("parallel_tool_calls", True)
    tools = Tools(tuple(body["tools"]), choice, parallel) if "tools" in body else None
    return ChatRequest(messages=messages, top_logprobs=body.get("top_logprobs"), tools=tools, **common)


def _parts(piece: Piece, called: int) -> list[dict[str, Any]]:
    """Calls in the bits that servers send, behind `called` others: the name, then the arguments in two halves."""
    numbered = list(enumerate(piece.tool_calls, called))
    heads = [{"index": n, **call.to_json(), "function": {"name": call.name, "arguments": ""}} for n, call in numbered]
    begun = [{"index": n, "function": {"arguments": call.arguments[:3]}} for n, call in numbered]
    return heads + begun + [{"index": n, "function": {"arguments": call.arguments[3:]}} for n, call in numbered]


def _choice(piece: Piece, chat: bool, called: int) -> dict[str, Any]:
    if chat:
        content = [
            {"token": t.text, "logprob": t.logprob, "top_logprobs": [{"token": k, "logprob": v} for k, v in t.top]}
            for t in piece.logprobs
        ]
        told = {"content": content} if content else None
        delta = {"content": piece.text, "tool_calls": _parts(piece, called)}
        return {"delta": delta, "logprobs": told, "finish_reason": piece.finish_reason}
    told = {
        "tokens": [t.text for t in piece.logprobs],
        "token_logprobs": [t.logprob for t in piece.logprobs],
        "top_logprobs": [dict(t.top) for t in piece.logprobs],
    }
    return {"text": piece.text, "logprobs": told if piece.logprobs else None, "finish_reason": piece.finish_reason}


def _handler(engine: Engine, seen: list[dict[str, Any]], gone: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({"path": self.path, "headers": dict(self.headers)})
            self._send(200, {"data": [{"id": name} for name in engine.models()]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "headers": dict(self.headers), "body": body})
            try:
                if self.path == "/v1/embeddings":
                    self._embed(body)
                else:
                    self._answer(body)
            except Refusal as refusal:
                self._send(400, {"error": {"message": str(refusal)}})
            except OSError:
                gone.set()

        def _embed(self, body: dict[str, Any]) -> None:
            found = engine.embed(body["model"], body["input"], lambda: False)
            rows = [{"index": place, "embedding": vector} for place, vector in enumerate(found.vectors)]
            self._send(200, {"data": rows[::-1], "usage": {"prompt_tokens": found.tokens}})

        def _answer(self, body: dict[str, Any]) -> None:
            chat = self.path == "/v1/chat/completions"
            pieces = engine.answer(_request(self.path, body), lambda: False)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            called = 0
            for piece in pieces:
                self._event({"choices": [_choice(piece, chat, called)]})
                called += len(piece.tool_calls)
                if piece.finish_reason:
                    usage = {"prompt_tokens": piece.prompt_tokens, "completion_tokens": piece.completion_tokens}
                    self._event({"choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")

        def _event(self, value: Any) -> None:
            self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")

        def _send(self, status: int, value: Any) -> None:
            if self.headers.get("Authorization") != f"Bearer {KEY}":
                status, value = 401, {"error": {"message": "no"}}
            payload = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler


@contextmanager
def standing_in(engine: Engine) -> Iterator[tuple[str, list[dict[str, Any]], threading.Event]]:
    """Serve `engine`; yields the URL, what was asked so far, and whether a client has left in between."""
    seen: list[dict[str, Any]] = []
    gone = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(engine, seen, gone))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", seen, gone
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
