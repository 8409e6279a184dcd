"""Texts as vectors: the mean of a text's last hidden states, of a model that writes or of a small embedder.

An embedder is pooled as all-MiniLM-L6-v2 is: all tokens count, [CLS] and [SEP] among them (arXiv 1908.10084). Of a
model that writes, a text's own tokens count, and not those that its tokenizer puts around every text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrara.models.forward import hidden_states
from carrara.models.load import Loaded
from carrara.models.passes import cut_by_length

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

_TOKENS = 2048  # padded tokens in one forward pass
_LONGEST = 256  # tokens that all-MiniLM-L6-v2's publisher lets it read of a text


@dataclass(frozen=True)
class Embedded:
    """A text's vector `(width,)`, the tokens read of it, and whether its end was left out, since it did not fit."""

    vector: NDArray[np.float32]
    tokens: int
    cut: bool


@dataclass(frozen=True)
class _Text:
    ids: list[int]
    counted: list[bool]  # the tokens that the mean is taken over
    cut: bool


def embed(loaded: Loaded, texts: Sequence[str]) -> list[Embedded]:
    """The embedding of each text, in order; without numbers where a text has no tokens of its own.

    Texts of like length share a pass, so that the last bits depend on all of them.
    """
    is_embedder = loaded.model.is_embedder
    read = [_read(loaded, text, is_embedder) for text in texts]
    found: dict[int, Embedded] = {}
    for places in cut_by_length([len(text.ids) for text in read], lambda count, longest: count * longest <= _TOKENS):
        vectors = _means(loaded, [read[place] for place in places], is_embedder)
        for place, vector in zip(places, vectors, strict=True):
            found[place] = Embedded(vector, len(read[place].ids), read[place].cut)
    return [found[place] for place in range(len(read))]


def _read(loaded: Loaded, text: str, is_embedder: bool) -> _Text:
    tokenizer: Any = loaded.tokenizer
    parts = tokenizer(
        text,
        truncation=True,
        max_length=min(loaded.context, _LONGEST) if is_embedder else loaded.context,
        return_overflowing_tokens=True,  # the rest of a text that is cut comes as further parts
        return_special_tokens_mask=True,
    )
    counted = [is_embedder or not special for special in parts["special_tokens_mask"][0]]
    return _Text(parts["input_ids"][0], counted, cut=len(parts["input_ids"]) > 1)


def _means(loaded: Loaded, texts: Sequence[_Text], is_embedder: bool) -> NDArray[np.float32]:
    """The mean hidden state of each text's counted tokens, `(texts, width)`, in float32."""
    import torch

    ids = _padded([text.ids for text in texts], loaded.device)
    counted = _padded([text.counted for text in texts], loaded.device).bool().unsqueeze(-1)
    with torch.inference_mode():
        if is_embedder:
            mask = _padded([[1] * len(text.ids) for text in texts], loaded.device)
            hidden = loaded.network(input_ids=ids, attention_mask=mask).last_hidden_state
        else:  # no token sees the padding, which stands behind it
            hidden = hidden_states(loaded.network, ids)
        sums = torch.where(counted, hidden.float(), 0.0).sum(dim=1)
        return (sums / counted.sum(dim=1)).cpu().numpy()


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    import torch

    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.long, device=device)
