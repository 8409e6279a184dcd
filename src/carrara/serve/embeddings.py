"""`/v1/embeddings`: what may be asked there, and the words of its answers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import WithJsonSchema

from carrara.serve.engine import Embedded
from carrara.serve.protocol import ApiError, Body, Neutral

_MOST_TEXTS = 2048
_TEXT = {"type": "string", "minLength": 1}
_INPUT = {"anyOf": [_TEXT, {"type": "array", "minItems": 1, "maxItems": _MOST_TEXTS, "items": _TEXT}]}


class EmbeddingsBody(Body):
    """The fields of a request that are honoured; `input` is checked by hand, for better sentences."""

    neutral: ClassVar[Neutral] = {"dimensions": ()}

    input: Annotated[Any, WithJsonSchema(_INPUT)]
    encoding_format: Literal["float", "base64"] | None = None

    def texts(self) -> list[str]:
        """The texts to embed; raises ApiError for an input that is not usable."""
        texts = self.input if isinstance(self.input, list) else [self.input]
        if any(isinstance(text, int | list) for text in texts):
            raise ApiError(400, "unsupported_parameter", "'input' may not hold token ids here; send the text.", "input")
        if not 1 <= len(texts) <= _MOST_TEXTS:
            raise ApiError(400, "invalid_value", f"'input' has to hold 1 to {_MOST_TEXTS} texts.", "input")
        if not all(isinstance(text, str) and text for text in texts):
            raise ApiError(400, "invalid_value", "'input' has to be a text, or several, none of them empty.", "input")
        return texts

    def answer(self, embedded: Embedded) -> dict[str, Any]:
        """The answer to this request."""
        encoded = _base64 if self.encoding_format == "base64" else list
        data = [
            {"object": "embedding", "index": index, "embedding": encoded(vector)}
            for index, vector in enumerate(embedded.vectors)
        ]
        counts = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
        return {"object": "list", "data": data, "model": self.model, "usage": counts}


def _base64(vector: Sequence[float]) -> str:
    """32-bit floats, the lowest byte first, as the openai client asks for by default."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
