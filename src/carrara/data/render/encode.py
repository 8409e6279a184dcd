"""Text to token ids, many rows in one call, each row in pieces whose borders are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from carrara.data.render.template import any_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Encoder:
    """Encodes rows given as pieces, such as a context and its answer.

    The pieces of a row are encoded together, so that a model meets them as it meets running text; a piece whose
    first token would straddle the border to the piece before it is encoded by itself. `piece_by_piece` is this
    rule word for word; `encode` gives the same ids and encodes each row once instead of once for each piece.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        # Tokens found in the raw text before anything else; what stands between two of them is encoded on its own.
        self._walls = {
            token.content: number
            for number, token in (tokenizer.added_tokens_decoder.items() if tokenizer.is_fast else ())
            if not token.normalized
        }
        self._wall: re.Pattern[str] = any_of(self._walls)

    def encode(self, rows: Sequence[Sequence[str]]) -> list[tuple[list[int], list[int]]]:
        """Of each row the ids, and for each of its pieces where it ends among them."""
        texts = ["".join(pieces) for pieces in rows]
        walls = [list(self._wall.finditer(text)) for text in texts]
        borders = [_borders(*row) for row in zip(texts, walls, rows, strict=True)]
        tails = list(dict.fromkeys(tail for row in borders for _, tail in row))
        ids = self._ids([*texts, *tails])
        ids_of = dict(zip(tails, ids[len(texts) :], strict=True))
        return [
            self._found(whole, found, border, ids_of) or self.piece_by_piece(pieces)
            for whole, found, border, pieces in zip(ids, walls, borders, rows)
        ]

    def piece_by_piece(self, pieces: Sequence[str]) -> tuple[list[int], list[int]]:
        """The ids of a row and where its pieces end, by encoding again with each piece."""
        ids: list[int] = []
        ends: list[int] = []
        text = ""
        for piece in pieces:
            whole = self._ids([text + piece])[0]
            ids = whole if whole[: len(ids)] == ids else ids + self._ids([piece])[0]
            text += piece
            ends.append(len(ids))
        return ids, ends

    def opening(self) -> list[int]:
        """What the tokenizer writes in front of a text by itself: its BOS, or nothing."""
        bare = self._ids(["a"])[0]
        full = list(self._tokenizer.encode("a", add_special_tokens=True))
        starts = [place for place in range(len(full)) if full[place : place + len(bare)] == bare]
        return full[: starts[0]] if starts else []

    def _ids(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        return self._tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]

    def _found(
        self,
        whole: list[int],
        walls: Sequence[re.Match[str]],
        borders: Sequence[tuple[int, str]],
        ids_of: Mapping[str, list[int]],
    ) -> tuple[list[int], list[int]] | None:
        """The ids of a whole row and where its pieces end; None if a token straddles a border."""
        numbers = [self._walls[wall[0]] for wall in walls]
        if sum(map(whole.count, set(numbers))) != len(walls):
            return None  # the tokenizer finds its tokens by rules of its own
        places: list[int] = []
        for number in numbers:
            places.append(whole.index(number, places[-1] + 1 if places else 0))
        ends: list[int] = []
        for before, tail in borders:
            start = places[before - 1] if before else 0
            end = start + len(ids_of[tail])
            if whole[start:end] != ids_of[tail]:
                return None
            ends.append(end)
        return whole, [*ends, len(whole)]


def _borders(text: str, walls: Sequence[re.Match[str]], pieces: Sequence[str]) -> list[tuple[int, str]]:
    """Of each inner border: how many walls stand before it, and the text from the last of them up to it."""
    borders: list[tuple[int, str]] = []
    place = 0
    for piece in pieces[:-1]:
        place += len(piece)
        before = sum(wall.end() <= place for wall in walls)
        borders.append((before, text[walls[before - 1].start() if before else 0 : place]))
    return borders
