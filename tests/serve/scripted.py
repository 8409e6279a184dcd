"""An engine that says what it is told to, for tests of what is in front of an engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from carrara.serve.engine import ChatRequest, ContextExceeded, Embedded, Piece, TextRequest, UnknownModel, Unsupported


class Scripted:
    """Answers with `words`; waits for `gate` before the second one; remembers what it was asked."""

    def __init__(self, words: tuple[str, ...] = ("Hello", " wörld"), failure: Exception | None = None) -> None:
        self.words = words
        self.failure = failure
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[ChatRequest] = []
        self.gave_up = 0

    def models(self) -> list[str]:
        return ["m", "run/1"]

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        if request.model not in self.models():
            raise UnknownModel(request.model, self.models())
        if (request.max_tokens or 0) > 100:
            raise ContextExceeded(7, request.max_tokens, 100)
        assert isinstance(request, ChatRequest)
        self.asked.append(request)
        return self._answer(cancelled)

    def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        raise Unsupported("scripted", "input")

    def close(self) -> None:
        pass

    def _answer(self, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        for index, word in enumerate(self.words):
            while index == 1 and not self.gate.is_set():
                if cancelled():
                    self.gave_up += 1
                    return
                time.sleep(0.01)
            if index == 1 and self.failure:
                raise self.failure
            yield Piece(word)
        yield Piece("", "stop", 7, len(self.words))
