"""The reference engine: transformers, with the adapters of a base sharing one network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from carrara.data.example import Message
from carrara.data.render.ends import end_tokens
from carrara.data.render.example import render_prompt
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.adapters import Adapted, load_together, switched_on
from carrara.models.load import Loaded
from carrara.serve.engine import ChatRequest, ContextExceeded, Embedded, Piece, TextRequest, UnknownModel, Unsupported
from carrara.serve.generation import generate
from carrara.serve.line import Line

# Tokens of an answer whose request names no limit, if the context has room for them: a small model
# that does not find its end would otherwise fill its whole context.
DEFAULT_MAX_TOKENS = 1024


@dataclass(frozen=True)
class Voice:
    """A model as it is asked, and the tokens that end an answer."""

    adapted: Adapted
    ends: frozenset[int]

    @property
    def loaded(self) -> Loaded:
        return self.adapted.loaded


class TransformersEngine:
    """Answers with transformers, one request at a time, in the order of asking."""

    def __init__(self, voices: Mapping[str, Voice]) -> None:
        self._voices = dict(voices)
        self._line = Line()

    def models(self) -> list[str]:
        """The names it answers under, in the order given."""
        return list(self._voices)

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """See Engine; without `max_tokens` an answer has what the context leaves, at most DEFAULT_MAX_TOKENS."""
        if not isinstance(request, ChatRequest):
            raise Unsupported("transformers", "prompt")
        for field in ("top_logprobs", "schema"):
            if getattr(request, field) is not None:
                raise Unsupported("transformers", field)
        voice = self._voices.get(request.model)
        if voice is None:
            raise UnknownModel(request.model, self.models())
        prompt = render_prompt(voice.loaded.tokenizer, request.messages)
        room = voice.loaded.context - len(prompt)
        if room < (request.max_tokens or 1):
            raise ContextExceeded(len(prompt), request.max_tokens, voice.loaded.context)
        budget = request.max_tokens or min(room, DEFAULT_MAX_TOKENS)
        return self._answer(voice, prompt, request, budget, cancelled)

    def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """See Engine."""
        raise Unsupported("transformers", "input")

    def close(self) -> None:
        """See Engine; the networks go with the process."""

    def _answer(
        self, voice: Voice, prompt: list[int], request: ChatRequest, budget: int, cancelled: Callable[[], bool]
    ) -> Iterator[Piece]:
        # The turn is held to the last token: what is switched on in a network is switched on for everyone.
        with self._line.turn(cancelled) as mine:
            if mine:
                with switched_on(voice.adapted) as loaded:
                    yield from generate(loaded, prompt, request, budget, voice.ends, cancelled)


def load_engine(models: Mapping[str, Model], dtype: str = "auto") -> TransformersEngine:
    """Load models under the names to serve them by; raises Refusal for one that cannot be loaded or cannot chat."""
    together = load_together(list(models.values()), dtype)
    return TransformersEngine({name: _voice(name, adapted) for name, adapted in zip(models, together, strict=True)})


def _voice(name: str, adapted: Adapted) -> Voice:
    try:
        render_prompt(adapted.loaded.tokenizer, (Message("user", "Hello"),))
    except Refusal as error:
        raise Refusal(f"{name} cannot chat: {error}") from error
    return Voice(adapted, end_tokens(adapted.loaded))
