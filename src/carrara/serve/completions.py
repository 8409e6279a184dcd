"""`/v1/completions`: what may be asked there, and the words of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Any, ClassVar

from pydantic import Field, WithJsonSchema

from carrara.serve.chat import finite
from carrara.serve.engine import FinishReason, Piece, TextRequest, TokenLogprob
from carrara.serve.protocol import MOST_LOGPROBS, WHOLE, ApiError, Neutral, Writing

_TEXT = {"type": "string", "minLength": 1}
_PROMPT = {"anyOf": [_TEXT, {"type": "array", "minItems": 1, "maxItems": 1, "items": _TEXT}]}


class TextBody(Writing):
    """The fields of a request that are honoured; `prompt` is checked by hand, for better sentences."""

    neutral: ClassVar[Neutral] = {
        "best_of": (1,),
        "echo": (False,),
        "frequency_penalty": (0,),
        "logit_bias": ({},),
        "presence_penalty": (0,),
        "suffix": (),
    }

    prompt: Annotated[Any, WithJsonSchema(_PROMPT)]
    logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS), WHOLE] | None = None

    def to_request(self) -> TextRequest:
        """The request to the engine; raises ApiError for a prompt that is not usable."""
        return TextRequest(
            **self.settings(), prompt=_prompt(self.prompt), max_tokens=self.max_tokens, top_logprobs=self.logprobs
        )


def _prompt(value: Any) -> str:
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(text, int | list) for text in texts):
        raise ApiError(400, "unsupported_parameter", "'prompt' may not hold token ids here; send the text.", "prompt")
    if len(texts) > 1:
        message = "'prompt' may hold one text here; send a request for each."
        raise ApiError(400, "unsupported_parameter", message, "prompt")
    if not texts or not isinstance(texts[0], str) or not texts[0]:
        raise ApiError(400, "invalid_value", "'prompt' has to be a text that is not empty.", "prompt")
    return texts[0]


class TextForm:
    """How this route words its answers."""

    prefix = "cmpl"
    whole = part = "text_completion"
    field = "prompt"

    def __init__(self, logprobs: int | None) -> None:
        self._logprobs = logprobs

    def choice(self, index: int, answer: Piece) -> dict[str, Any]:
        """One whole answer."""
        return {**self.bit(index, answer, 0, 0), "finish_reason": answer.finish_reason}

    def opening(self, index: int) -> None:
        """A streamed answer begins with its first bit."""

    def bit(self, index: int, piece: Piece, before: int, called: int) -> dict[str, Any]:
        """A bit of a streamed answer; `before` characters were said already."""
        words = self._words(piece.logprobs, before)
        return {"index": index, "text": piece.text, "logprobs": words, "finish_reason": None}

    def ending(self, index: int, reason: FinishReason) -> dict[str, Any]:
        """What a streamed answer ends with."""
        return {"index": index, "text": "", "logprobs": None, "finish_reason": reason}

    def _words(self, tokens: Sequence[TokenLogprob], before: int) -> dict[str, Any] | None:
        if self._logprobs is None:
            return None
        texts = [token.text for token in tokens]
        tops = [{text: finite(logprob) for text, logprob in token.top} for token in tokens]
        return {
            "tokens": texts,
            "token_logprobs": [finite(token.logprob) for token in tokens],
            "top_logprobs": tops if self._logprobs else None,
            "text_offset": list(accumulate(map(len, texts), initial=before))[:-1],
        }
