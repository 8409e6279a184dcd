"""An engine that says what it is told to, for tests of what is in front of an engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from carrara.serve.engine import (
    ChatRequest,
    ContextExceeded,
    Embedded,
    Piece,
    TextRequest,
    TokenLogprob,
    ToolCall,
    UnknownModel,
    Unsupported,
)


class Scripted:
    """Answers with `words`; waits for `gate` before the second one; remembers what it was asked.

    Asked for log-probabilities, it gives -0.5 to each word and -1.5 to "?" beside it. A text's vector is
    (0.6, 0.8), turned by the length of the text. `cannot` names fields of requests that it refuses. Offered tools,
    it makes its `calls`, each in a piece of its own, behind the words.
    """

    def __init__(
        self,
        words: Iterable[str] = ("Hello", " wörld"),
        failure: Exception | None = None,
        cannot: Sequence[str] = (),
        context: int = 100,
        calls: Sequence[ToolCall] = (),
    ) -> None:
        self.words = words
        self.calls = calls
        self.failure = failure
        self.cannot = cannot
        self.context = context
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[Any] = []  # ChatRequest or TextRequest
        self.embedded: list[str] = []
        self.gave_up = 0
        self.closed = False

    def models(self) -> list[str]:
        return ["m", "run/1"]

    def describe(self, model: str) -> str:
        return f"scripted {model}"

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        self._check(request.model)
        for field in self.cannot:
            if getattr(request, field, None) is not None:
                raise Unsupported("scripted", field)
        if (request.max_tokens or 0) > self.context:
            raise ContextExceeded.by(7, request.max_tokens, self.context)
        self.asked.append(request)
        return self._answer(request, cancelled)

    def embed(self, model: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> Embedded:
        self._check(model)
        if "input" in self.cannot:
            raise Unsupported("scripted", "input")
        while not self.gate.wait(0.01):
            if cancelled():
                self.gave_up += 1
                return Embedded((), 0)
        self.embedded.extend(texts)
        vectors = tuple((0.6, 0.8) if len(text) % 2 else (0.8, -0.6) for text in texts)
        return Embedded(vectors, sum(map(len, texts)))

    def close(self) -> None:
        self.closed = True

    def _check(self, model: str) -> None:
        if model not in self.models():
            raise UnknownModel(model, self.models())

    def _answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        said = 0
        for index, word in enumerate(self.words):
            while index == 1 and not self.gate.is_set():
                if cancelled():
                    self.gave_up += 1
                    return
                time.sleep(0.01)
            if index == 1 and self.failure:
                raise self.failure
            if cancelled():
                self.gave_up += 1
                return
            top = (("?", -1.5),) * bool(request.top_logprobs)
            tokens = () if request.top_logprobs is None else (TokenLogprob(word, -0.5, top),)
            said += 1
            yield Piece(word, logprobs=tokens)
        calls = self.calls if isinstance(request, ChatRequest) and request.tools else ()
        for call in calls:
            yield Piece("", tool_calls=(call,))
        yield Piece("", "tool_calls" if calls else "stop", 7, said)
