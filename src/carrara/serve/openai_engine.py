"""Any server that speaks OpenAI's protocol, at a URL that somebody named."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import httpx2

from carrara.errors import Refusal, one_line
from carrara.serve.engine import (
    ChatRequest,
    ContextExceeded,
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

KEY = "CARRARA_ENGINE_KEY"  # the environment variable that holds the key of the other server, if it wants one
_TIMEOUT = httpx2.Timeout(600.0, connect=10.0, pool=5.0)
_LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=0)  # none is kept, so each can be cut alone
_LOOK_UP = 0.1  # seconds between two looks at whether who asked has given up
_EMBEDDED_AT_ONCE = 64  # texts in a request
_NOT_THE_REQUESTS = frozenset({401, 402, 403, 407, 408, 425, 429})  # statuses below 500
_RETRY_AFTER = 5  # seconds, where the server does not say
_TELL = "tell whoever runs this server"  # what a client of the API can do; whoever starts it is told more
_ENDINGS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",  # words of servers before they took OpenAI's
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}
_Item = Piece | Exception | None
_Found = TypeVar("_Found")


class OpenAIEngine:
    """Asks the server at `url`, which ends in /v1, and nobody else; see `open_client` for `key_variable`."""

    def __init__(self, url: str, key_variable: str | None = None) -> None:
        """Raises what `open_client` raises, and Unavailable where the server does not tell its models."""
        self._url = url
        self._client = open_client(url, key_variable)
        way_out = f"check the URL and the environment variable {key_variable or KEY}"
        try:
            self._models = self._ask(
                "GET", "models", None, lambda found: [str(each["id"]) for each in found["data"]], way_out
            )
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
        wire = _Wire()
        threading.Thread(target=self._take, args=(request, items, wire), daemon=True).start()
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
            wire.cut()

    def _take(self, request: ChatRequest | TextRequest, items: queue.SimpleQueue[_Item], wire: _Wire) -> None:
        """Put the pieces of an answer into `items`, then None; ends within an instant once `wire` is cut."""
        path = "chat/completions" if isinstance(request, ChatRequest) else "completions"
        try:
            with self._client.stream("POST", path, json=_body(request), extensions={"trace": wire.watch}) as response:
                if response.status_code != 200:
                    response.read()
                    raise self._refusal(response)
                for piece in _pieces(_events(wire.until_cut(response.iter_lines()), self._url), self._url):
                    items.put(piece)
        except Refusal as error:
            items.put(error)
        except Exception as error:  # an answer has countless odd shapes, and none may end it as if nothing was wrong
            items.put(self._unusable(error))
        finally:
            items.put(None)

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        read: Callable[[Any], _Found],
        way_out: str = _TELL,
    ) -> _Found:
        """What `read` finds in an answer."""
        try:
            response = self._client.request(method, path, json=body)
            if response.status_code == 200:
                return read(response.json())
        except Exception as error:  # as in _take
            raise self._unusable(error, way_out) from error
        raise self._refusal(response, way_out)

    def _unusable(self, error: Exception, way_out: str = _TELL) -> Unavailable:
        if isinstance(error, httpx2.PoolTimeout):
            return Unavailable(f"{self._url} is asked by too many at once; ask again later.", _RETRY_AFTER)
        sentence = f"{self._url} does not answer as OpenAI's servers do ({one_line(error)}); {way_out}."
        return Unavailable(sentence, _RETRY_AFTER if isinstance(error, httpx2.TransportError) else None)

    def _refusal(self, response: httpx2.Response, way_out: str = _TELL) -> Refusal:
        """What a status but 200 means: Unavailable, unless it is the request that is at fault."""
        status = response.status_code
        if status in (401, 403):
            return Unavailable(f"{self._url} does not accept the key; {way_out}.")
        try:
            error = dict(response.json()["error"])
        except (ValueError, LookupError, TypeError):
            error = {}
        sentence = f"{self._url} refuses the request: {one_line(str(error.get('message', f'status {status}')))}"
        if error.get("code") == "context_length_exceeded":
            return ContextExceeded(sentence, prompt_fits=error.get("param") == "max_tokens")
        if 400 <= status < 500 and status not in _NOT_THE_REQUESTS:
            return Refusal(sentence)
        told = response.headers.get("retry-after", "")
        seconds = int(told) if told.isdecimal() and len(told) < 6 else _RETRY_AFTER
        return Unavailable(sentence, seconds if status >= 400 else None)


class _Wire:
    """The connection of one answer, which another thread can cut, also before anything was answered."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._cut = False

    def watch(self, event: str, told: Mapping[str, Any]) -> None:
        """What httpx2 calls as it connects, which is the one way to a connection that has answered nothing yet."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = told["return_value"].get_extra_info("socket")
            if self._cut:
                self.cut()

    def until_cut(self, lines: Iterator[str]) -> Iterator[str]:
        """The lines that come before the cut."""
        return itertools.takewhile(lambda _: not self._cut, lines)

    def cut(self) -> None:
        """Wake who reads, and let the server see that nobody does any more; a mere close does neither."""
        self._cut = True
        if self._socket:
            with contextlib.suppress(OSError):  # it has ended already
                self._socket.shutdown(socket.SHUT_RDWR)


def open_client(url: str, key_variable: str | None) -> httpx2.Client:
    """A client of the server at `url` alone: redirects are not followed, and the environment's proxies not asked.

    `key_variable` names the environment variable that holds the key; without one no key is sent. Raises Refusal for a
    URL that is none, a key that is none, and one that would cross a network in the clear.
    """
    key = _key(key_variable, url) if key_variable else ""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        client = httpx2.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT, limits=_LIMITS, follow_redirects=False, trust_env=False
        )
    except httpx2.InvalidURL as error:
        raise Refusal(f"{url} is no URL ({one_line(error)}); check the URL.") from error
    if key and client.base_url.scheme != "https" and not is_here(client.base_url.host):
        raise Refusal(f"{url} would get the key of {key_variable} unencrypted; use https, or a server of this machine.")
    return client


def is_here(host: str) -> bool:
    """Whether the host of a URL means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(variable: str, url: str) -> str:
    key = os.environ.get(variable, "").strip()
    if not key:
        raise Refusal(f"the environment variable {variable} holds no key for {url}; set it.")
    if not (key.isascii() and key.isprintable()):
        raise Refusal(f"the key in {variable} has a character that no key has, such as a line break; set it anew.")
    return key


def _vectors(found: Any) -> Embedded:
    rows = sorted(found["data"], key=lambda each: each["index"])
    return Embedded(tuple(tuple(map(float, each["embedding"])) for each in rows), int(found["usage"]["prompt_tokens"]))


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
            if error := value.get("error"):
                raise Unavailable(f"{url} breaks off: {one_line(error['message'])}")
            yield value


def _pieces(events: Iterator[dict[str, Any]], url: str) -> Iterator[Piece]:
    """The last piece waits for the counts, which come in an event of their own, and has the calls."""
    reason: str | None = None
    usage: dict[str, Any] = {}
    calls: dict[int, ToolCall] = {}
    for value in events:
        usage = value.get("usage") or usage
        for choice in value["choices"][:1]:
            text = (choice["delta"].get("content") if "delta" in choice else choice["text"]) or ""
            if not isinstance(text, str):
                raise ValueError("the text is none")
            logprobs = _logprobs(choice.get("logprobs") or {})
            if text or logprobs:
                yield Piece(text, logprobs=logprobs)
            for part in choice.get("delta", {}).get("tool_calls") or ():
                calls[part["index"]] = _continued(calls.get(part["index"]), part)
            reason = choice.get("finish_reason") or reason
    if reason is None:
        raise ValueError("the answer breaks off")
    ordered = tuple(calls[index] for index in sorted(calls))
    ending = _ending(reason, bool(calls), url)
    yield Piece("", ending, usage.get("prompt_tokens"), usage.get("completion_tokens"), tool_calls=ordered)


def _ending(reason: str, called: bool, url: str) -> FinishReason:
    """Why an answer ended; raises Unavailable where the server withheld the rest, or says what nobody knows.

    No FinishReason says that an answer was filtered or given up (`content_filter`, vLLM's `abort`): "stop" would make
    it look complete, and "length" as if more tokens would help. So it breaks off.
    """
    ending = _ENDINGS.get(reason)
    if ending is None:
        raise Unavailable(f"{url} broke the answer off for the reason '{one_line(reason, 40)}'; {_TELL}.")
    return "tool_calls" if called and ending == "stop" else ending  # some servers say "stop" after calls, too


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
