"""Any server that speaks OpenAI's protocol, at a URL that somebody named."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import httpx2

from carrara.errors import Refusal, one_line
from carrara.serve.engine import (
    ChatRequest,
    Embedded,
    FinishReason,
    Piece,
    TextRequest,
    TokenLogprob,
    ToolCall,
    Tools,
    Unavailable,
    UnknownModel,
)

_TIMEOUT = httpx2.Timeout(600.0, connect=10.0)
_LOOK_UP = 0.1  # seconds between two looks at whether who asked has given up
_EMBEDDED_AT_ONCE = 64  # texts in a request
_NOT_THE_REQUESTS = frozenset({401, 402, 403, 407, 408, 425, 429})  # statuses below 500
_RETRY_AFTER = 5  # seconds, where the server does not say
_Item = Piece | Exception | None
_Found = TypeVar("_Found")


class OpenAIEngine:
    """Asks the server at `url`, which ends in /v1, and nobody else; redirects are not followed.

    `key_variable` names the environment variable that holds the key; without one no key is sent.
    """

    def __init__(self, url: str, key_variable: str | None = None) -> None:
        """Raises Refusal where the variable is not set, Unavailable where the server does not tell its models."""
        key = os.environ.get(key_variable, "") if key_variable else ""
        if key_variable and not key:
            raise Refusal(f"the environment variable {key_variable} holds no key for {url}; set it.")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._url = url
        # trust_env: neither a proxy nor a password of the environment comes in between
        self._client = httpx2.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT, follow_redirects=False, trust_env=False
        )
        try:
            self._models = self._ask("GET", "models", None, lambda found: [str(each["id"]) for each in found["data"]])
        except BaseException:
            self._client.close()
            raise

    def models(self) -> list[str]:
        """The names that the server told when it was first asked."""
        return list(self._models)

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """See Engine; what the server refuses is told with the first piece."""
        if request.model not in self._models:
            raise UnknownModel(request.model, self._models)
        return self._answer(request, cancelled)

    def embed(self, model: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> Embedded:
        """See Engine; the vectors are the server's, which by the protocol have length one."""
        if model not in self._models:
            raise UnknownModel(model, self._models)
        vectors: list[tuple[float, ...]] = []
        tokens = 0
        for start in range(0, len(texts), _EMBEDDED_AT_ONCE):
            if cancelled():
                break
            some = list(texts[start : start + _EMBEDDED_AT_ONCE])
            found = self._ask(
                "POST", "embeddings", {"model": model, "input": some, "encoding_format": "float"}, _vectors
            )
            vectors += found.vectors
            tokens += found.tokens
        return Embedded(tuple(vectors), tokens)

    def describe(self, model: str) -> str:
        """See Engine."""
        return f"openai {self._url}"

    def close(self) -> None:
        """See Engine."""
        self._client.close()

    def _answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """The pieces that a thread takes from the server, so that waiting for them can be given up."""
        items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        left = threading.Event()
        threading.Thread(target=self._take, args=(request, items, left), daemon=True).start()
        try:
            while not cancelled():
                with contextlib.suppress(queue.Empty):
                    item = items.get(timeout=_LOOK_UP)
                    if item is None:
                        return
                    if isinstance(item, Exception):
                        raise item
                    yield item
        finally:
            left.set()

    def _take(self, request: ChatRequest | TextRequest, items: queue.SimpleQueue[_Item], left: threading.Event) -> None:
        """Put the pieces of an answer into `items`, then None; hang up once `left`."""
        path = "chat/completions" if isinstance(request, ChatRequest) else "completions"
        try:
            with self._client.stream("POST", path, json=_body(request)) as response:
                if response.status_code != 200:
                    response.read()
                    raise self._refusal(response)
                for piece in _pieces(_events(response.iter_lines(), self._url)):
                    if left.is_set():
                        return
                    items.put(piece)
        except (httpx2.HTTPError, ValueError, LookupError, TypeError, RuntimeError) as error:
            items.put(self._unusable(error))
        except Refusal as error:
            items.put(error)
        finally:
            items.put(None)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, read: Callable[[Any], _Found]) -> _Found:
        """What `read` finds in an answer."""
        try:
            response = self._client.request(method, path, json=body)
            if response.status_code == 200:
                return read(response.json())
        except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
            raise self._unusable(error) from error
        raise self._refusal(response)

    def _unusable(self, error: Exception) -> Unavailable:
        sentence = f"{self._url} does not answer as OpenAI's servers do ({one_line(error)}); check the URL."
        return Unavailable(sentence, _RETRY_AFTER if isinstance(error, httpx2.TransportError) else None)

    def _refusal(self, response: httpx2.Response) -> Refusal:
        """What a status but 200 means: Unavailable, unless it is the request that is at fault."""
        status = response.status_code
        if status in (401, 403):
            return Unavailable(f"{self._url} does not accept the key; set the environment variable that holds it.")
        try:
            reason = str(response.json()["error"]["message"])
        except (ValueError, LookupError, TypeError):
            reason = f"status {status}"
        sentence = f"{self._url} refuses the request: {one_line(reason)}"
        if 400 <= status < 500 and status not in _NOT_THE_REQUESTS:
            return Refusal(sentence)
        told = response.headers.get("retry-after", "")
        seconds = int(told) if told.isdecimal() and len(told) < 6 else _RETRY_AFTER
        return Unavailable(sentence, seconds if status >= 400 else None)


def _vectors(found: Any) -> Embedded:
    rows = sorted(found["data"], key=lambda each: each["index"])
    return Embedded(tuple(tuple(each["embedding"]) for each in rows), int(found["usage"]["prompt_tokens"]))


def _body(request: ChatRequest | TextRequest) -> dict[str, Any]:
    """The fields of a request that differ from what servers do when a field is left out."""
    chat = isinstance(request, ChatRequest)
    body: dict[str, Any] = {
        "model": request.model,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if chat:
        # an answer that is all calls has no content; some servers take "" for an answer of its own
        body["messages"] = [
            {**each.to_json(), "content": each.content or None} if "tool_calls" in each.extra else each.to_json()
            for each in request.messages
        ]
        body |= _tools(request.tools)
    else:
        body["prompt"] = request.prompt
    body |= {key: value for key in ("max_tokens", "seed") if (value := getattr(request, key)) is not None}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs} if chat else {"logprobs": request.top_logprobs}
    if request.schema is not None:
        schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def _tools(tools: Tools | None) -> dict[str, Any]:
    if tools is None:
        return {}
    body: dict[str, Any] = {"tools": [dict(tool) for tool in tools.functions]}
    if tools.choice != "auto":
        body["tool_choice"] = tools.choice
    return body if tools.parallel else {**body, "parallel_tool_calls": False}


def _events(lines: Iterator[str], url: str) -> Iterator[dict[str, Any]]:
    """The values of server-sent events; raises Unavailable for one that tells an error."""
    for line in lines:
        text = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if text == "[DONE]":
            return
        if text:
            value = json.loads(text)
            if "error" in value:
                raise Unavailable(f"{url} breaks off: {one_line(value['error']['message'])}")
            yield value


def _pieces(events: Iterator[dict[str, Any]]) -> Iterator[Piece]:
    """The last piece waits for the counts, which come in an event of their own, and has the calls."""
    reason: FinishReason | None = None
    usage: dict[str, Any] = {}
    calls: dict[int, ToolCall] = {}
    for value in events:
        usage = value.get("usage") or usage
        for choice in value["choices"][:1]:
            text = (choice["delta"].get("content") if "delta" in choice else choice["text"]) or ""
            logprobs = _logprobs(choice.get("logprobs") or {})
            if text or logprobs:
                yield Piece(text, logprobs=logprobs)
            for part in choice.get("delta", {}).get("tool_calls") or ():
                calls[part["index"]] = _continued(calls.get(part["index"]), part)
            if told := choice.get("finish_reason"):
                reason = told if told in ("length", "tool_calls") else "stop"
    if reason is None:
        raise ValueError("the answer breaks off")
    ordered = tuple(calls[index] for index in sorted(calls))
    yield Piece("", reason, usage.get("prompt_tokens"), usage.get("completion_tokens"), tool_calls=ordered)


def _continued(call: ToolCall | None, part: Mapping[str, Any]) -> ToolCall:
    """A call with the part of it that came now: first its id and name, then its arguments bit by bit."""
    function = part.get("function") or {}
    arguments = function.get("arguments") or ""
    if call is None:
        return ToolCall(str(part["id"]), str(function["name"]), str(arguments))
    return replace(call, arguments=call.arguments + arguments)


def _logprobs(told: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """Log-probabilities as chat (`content`) or plain completions (`tokens`) tell them."""
    if content := told.get("content"):
        return tuple(
            TokenLogprob(
                each["token"], each["logprob"], tuple((t["token"], t["logprob"]) for t in each["top_logprobs"])
            )
            for each in content
        )
    rows = zip(told.get("tokens", ()), told.get("token_logprobs", ()), told.get("top_logprobs") or (), strict=False)
    return tuple(TokenLogprob(token, logprob, tuple((top or {}).items())) for token, logprob, top in rows)
