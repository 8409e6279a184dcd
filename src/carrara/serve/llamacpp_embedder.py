"""Vectors by llama.cpp: a text's mean last hidden state, as `carrara.models.embedder` takes it, in its own process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.export.reference import GREETING
from carrara.serve.engine import ContextExceeded, Embedded, Unavailable
from carrara.serve.line import Line
from carrara.serve.llamacpp_process import Lasting, LlamaCppProcess, Settings

if TYPE_CHECKING:
    from carrara.serve.reader import Reader

# The least cosine between two vectors of one text by one model: read alone, it has the same bits each time. An adapter
# that was trained a little turns a greeting by as little as one in ten thousand.
_SAME = 0.999999
Adapters = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Text:
    """The tokens up to the last of the text's own, how many in front are the tokenizer's, and how many all are."""

    ids: list[int]
    front: int
    tokens: int


class Embedder:
    """Reads one text at a time, since the adapters hold for the whole process; the first request starts it.

    `known` are the vectors of a greeting when each model was asked first: it is held to them.
    """

    def __init__(self, settings: Settings, check_every: float) -> None:
        self._lasting = Lasting(replace(settings, slots=1, embeds=True), self._forget)
        self._line = Line()
        self._check_every = check_every
        self._checked: dict[str, float] = {}
        self.known: dict[str, tuple[float, ...]] = {}

    def embed(
        self, name: str, reader: Reader, adapters: Adapters, texts: Sequence[str], cancelled: Callable[[], bool]
    ) -> Embedded:
        """See Engine; `adapters` names all of them with their scales. Raises Unavailable for a model that changed."""
        read = [_read(reader, index, text) for index, text in enumerate(texts)]
        vectors: list[tuple[float, ...]] = []
        with self._line.turn(cancelled) as place:
            for text in read:
                if place is None or cancelled():
                    break
                self._check(name, reader, adapters)
                vectors.append(_vector(self._lasting.running(), text, adapters))
        return Embedded(tuple(vectors), sum(text.tokens for text in read[: len(vectors)]))

    def close(self) -> None:
        """End the process."""
        self._lasting.close()

    def _check(self, name: str, reader: Reader, adapters: Adapters) -> None:
        process = self._lasting.running()
        if name in self._checked and time.monotonic() - self._checked[name] < self._check_every:
            return
        now = _vector(process, _read(reader, 0, GREETING), adapters)
        before = self.known.setdefault(name, now)
        if sum(one * other for one, other in zip(before, now, strict=True)) < _SAME:
            raise Unavailable(f"{name} turns a text into another vector than when it was first asked; start anew.")
        self._checked[name] = time.monotonic()

    def _forget(self) -> None:
        """What was seen of a process that has ended."""
        self._checked.clear()


def _read(reader: Reader, index: int, text: str) -> _Text:
    """Only a text's own tokens count, and not those that the tokenizer puts around every text."""
    parts = reader.tokenizer(text, return_special_tokens_mask=True)
    ids: list[int] = list(parts["input_ids"])
    if len(ids) > reader.context:
        raise ContextExceeded.by(len(ids), None, reader.context)
    own = [place for place, special in enumerate(parts["special_tokens_mask"]) if not special]
    if not own:
        raise Refusal(f"text {index} has no tokens of its own, and so no vector; leave it out.")
    return _Text(ids[: own[-1] + 1], own[0], len(ids))


def _vector(process: LlamaCppProcess, text: _Text, adapters: Adapters) -> tuple[float, ...]:
    """What stands in front sees nothing of the text, so its part of the mean is taken out by reading it alone."""
    sums = [value * len(text.ids) for value in process.embed(text.ids, adapters)]
    if text.front:
        before = process.embed(text.ids[: text.front], adapters)
        sums = [value - text.front * other for value, other in zip(sums, before, strict=True)]
    length = math.hypot(*sums)
    return tuple(value / length for value in sums)
