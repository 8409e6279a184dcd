"""Any server that speaks OpenAI's protocol, at a URL that somebody named."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx2

from carrara.errors import Refusal, one_line
from carrara.serve.engine import ChatRequest, Embedded, FinishReason, Piece, TextRequest, TokenLogprob, UnknownModel

_TIMEOUT = httpx2.Timeout(600.0, connect=10.0)
_LOOK_UP = 0.1  # seconds between two looks at whether who asked has given up
_Item = Piece | Exception | None


class OpenAIEngine:
    """Asks the server at `url`, which ends in /v1, and nobody else; redirects are not followed.

    `key_variable` names the environment variable that holds the key; without one no key is sent.
    """

    def __init__(self, url: str, key_variable: str | None = None) -> None:
        """Raises Refusal where the variable is not set, or the server does not tell its models."""
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
            self._models = [str(each["id"]) for each in self._ask("GET", "models", None)["data"]]
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

    def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """See Engine; the vectors are the server's, which by the protocol have length one."""
        if model not in self._models:
            raise UnknownModel(model, self._models)
        found = self._ask("POST", "embeddings", {"model": model, "input": list(texts), "encoding_format": "float"})
        rows = sorted(found["data"], key=lambda each: each["index"])
        return Embedded(tuple(tuple(each["embedding"]) for each in rows), int(found["usage"]["prompt_tokens"]))

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

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, json=body)
            if response.status_code == 200:
                return dict(response.json())
        except (httpx2.HTTPError, ValueError, TypeError) as error:
            raise self._unusable(error) from error
        raise self._refusal(response)

    def _unusable(self, error: Exception) -> Refusal:
        return Refusal(f"{self._url} does not answer as OpenAI's servers do ({one_line(error)}); check the URL.")

    def _refusal(self, response: httpx2.Response) -> Refusal:
        if response.status_code in (401, 403):
            return Refusal(f"{self._url} does not accept the key; set the environment variable that holds it.")
        try:
            reason = str(response.json()["error"]["message"])
        except (ValueError, LookupError, TypeError):
            reason = f"status {response.status_code}"
        return Refusal(f"{self._url} refuses the request: {one_line(reason)}")


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
        body["messages"] = [{"role": each.role, "content": each.content} for each in request.messages]
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


def _events(lines: Iterator[str], url: str) -> Iterator[dict[str, Any]]:
    """The values of server-sent events; raises Refusal for one that tells an error."""
    for line in lines:
        text = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if text == "[DONE]":
            return
        if text:
            value = json.loads(text)
            if "error" in value:
                raise Refusal(f"{url} breaks off: {one_line(value['error']['message'])}")
            yield value


def _pieces(events: Iterator[dict[str, Any]]) -> Iterator[Piece]:
    """The last piece waits for the counts, which come in an event of their own."""
    reason: FinishReason | None = None
    usage: dict[str, Any] = {}
    for value in events:
        usage = value.get("usage") or usage
        for choice in value["choices"][:1]:
            text = (choice["delta"].get("content") if "delta" in choice else choice["text"]) or ""
            logprobs = _logprobs(choice.get("logprobs") or {})
            if text or logprobs:
                yield Piece(text, logprobs=logprobs)
            if told := choice.get("finish_reason"):
                reason = "length" if told == "length" else "stop"
    if reason is None:
        raise ValueError("the answer breaks off")
    yield Piece("", reason, usage.get("prompt_tokens"), usage.get("completion_tokens"))


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
