"""The reference engine: transformers, with the adapters of a base sharing one network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.adapters import Adapted, load_together, switched_on
from carrara.models.embedder import embed
from carrara.models.passes import cut_by_length
from carrara.serve.engine import ChatRequest, ContextExceeded, Embedded, Piece, TextRequest, UnknownModel, Unsupported
from carrara.serve.generation import generate
from carrara.serve.line import Line
from carrara.serve.reader import Reader, reader_in, require_chat

_EMBEDDED_AT_ONCE = 2048  # tokens of texts, between two looks at whether who asked has given up


@dataclass(frozen=True)
class Voice:
    """A model as it is asked."""

    adapted: Adapted
    reader: Reader


class TransformersEngine:
    """Answers with transformers, one request at a time, in the order of asking."""

    def __init__(self, voices: Mapping[str, Voice]) -> None:
        self._voices = dict(voices)
        self._line = Line()

    def models(self) -> list[str]:
        """The names it answers under, in the order given."""
        return list(self._voices)

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """See Engine and Reader.read."""
        if request.schema is not None:
            raise Unsupported("transformers", "schema")
        voice = self._voice(request.model)
        prompt, budget = voice.reader.read(request)
        return self._answer(voice, prompt, request, budget, cancelled)

    def embed(self, model: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> Embedded:
        """See Engine: the mean of a text's last hidden states, as `carrara.models.embedder` takes it.

        A text that does not fit is refused, and so is one without tokens.
        """
        voice = self._voice(model)
        sizes = [len(voice.reader.tokenizer.encode(text)) for text in texts]
        if max(sizes, default=0) > voice.reader.context:
            raise ContextExceeded.by(max(sizes), None, voice.reader.context)
        found: dict[int, tuple[float, ...]] = {}
        for places in cut_by_length(sizes, lambda count, longest: count * longest <= _EMBEDDED_AT_ONCE):
            with self._line.turn(cancelled) as place:
                if place is None or cancelled():
                    break
                with switched_on(voice.adapted) as loaded:
                    read = embed(loaded, [texts[index] for index in places])
            for index, each in zip(places, read, strict=True):
                found[index] = _normalised(index, each.vector.tolist())
        return Embedded(tuple(found[index] for index in sorted(found)), sum(sizes))

    def describe(self, model: str) -> str:
        """See Engine."""
        return f"transformers {str(self._voices[model].adapted.loaded.dtype).removeprefix('torch.')}"

    def close(self) -> None:
        """See Engine; the networks go with the process."""

    def _voice(self, name: str) -> Voice:
        if name not in self._voices:
            raise UnknownModel(name, self.models())
        return self._voices[name]

    def _answer(
        self,
        voice: Voice,
        prompt: list[int],
        request: ChatRequest | TextRequest,
        budget: int,
        cancelled: Callable[[], bool],
    ) -> Iterator[Piece]:
        # The turn is held to the last token: what is switched on in a network is switched on for everyone.
        with self._line.turn(cancelled) as place:
            if place is not None:
                with switched_on(voice.adapted) as loaded:
                    yield from generate(loaded, voice.reader, prompt, request, budget, cancelled)


def load_engine(models: Mapping[str, Model], dtype: str = "auto") -> TransformersEngine:
    """Load models under the names to serve them by; raises Refusal for one that cannot be loaded or cannot chat."""
    together = load_together(list(models.values()), dtype)
    return TransformersEngine({name: _voice(name, adapted) for name, adapted in zip(models, together, strict=True)})


def _voice(name: str, adapted: Adapted) -> Voice:
    reader = reader_in(adapted.loaded)
    require_chat(name, reader)
    return Voice(adapted, reader)


def _normalised(index: int, vector: Sequence[float]) -> tuple[float, ...]:
    length = math.hypot(*vector)
    if not 0 < length < math.inf:
        raise Refusal(f"text {index} has no tokens of its own, and so no vector; leave it out.")
    return tuple(value / length for value in vector)
