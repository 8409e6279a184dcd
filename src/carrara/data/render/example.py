"""The one place that turns messages into token ids and decides which of them are supervised.

Supervised are the completion and its end-of-turn token, nothing else. What stands before a completion is
rendered exactly as a server renders it when it asks the model for an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carrara.data.example import Example, Message
from carrara.data.render.encode import Encoder
from carrara.data.render.template import ChatTemplate, Piece, chat_pieces, chat_template, prompt_text
from carrara.errors import Refusal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Mode = Literal["chat", "plain"]


@dataclass(frozen=True)
class Rendered:
    """Token ids and, for each, whether the model learns to predict it.

    `cut` tokens are missing: in front, or of a document at its end.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    row: int
    id: str
    cut: int = 0
    file: str = ""

    @property
    def where(self) -> str:
        """The row, as a sentence names it."""
        return f"{self.file}, row {self.row}" if self.file else f"row {self.row}"

    @property
    def supervised_count(self) -> int:
        return sum(self.supervised)


class RowRefusal(Refusal):
    """A row that cannot be rendered. `reason` is the sentence without the row, alike for rows alike."""

    def __init__(self, example: Example, reason: str) -> None:
        place = f"{example.file}, row {example.row}" if example.file else f"row {example.row}"
        super().__init__(f"{place}: {reason}")
        self.reason = reason


def render_example(tokenizer: PreTrainedTokenizerBase, example: Example, mode: Mode, max_length: int) -> Rendered:
    """Render one example as `render_examples` does; raises the RowRefusal."""
    row = render_examples(tokenizer, [example], mode, max_length)[0]
    if isinstance(row, Refusal):
        raise row
    return row


def render_examples(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], mode: Mode, max_length: int
) -> list[Rendered | RowRefusal]:
    """Each example rendered, or why it cannot be; about a thousand at a time are quick and small.

    A row longer than `max_length` loses the beginning of its context, never an answer; a document, which is
    rendered plain in either mode, loses its end. Raises Refusal if the tokenizer cannot end a text.
    """
    template = chat_template(tokenizer)
    encoder = Encoder(tokenizer)
    plain = end_of_text(tokenizer) if mode == "plain" or any(example.is_document for example in examples) else ""
    rows = [_pieces(template, example, mode, plain) for example in examples]
    encoded = iter(encoder.encode([[text for text, _ in row] for row in rows if not isinstance(row, RowRefusal)]))
    opening = encoder.opening() if plain else []
    return [
        row
        if isinstance(row, RowRefusal)
        else _rendered(example, row, *next(encoded), [] if _by_template(example, mode) else opening, max_length)
        for example, row in zip(examples, rows, strict=True)
    ]


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The ids that ask the model for the next assistant message: what serving feeds, and training's context."""
    return _encode(tokenizer, prompt_text(chat_template(tokenizer), messages), special=False)


def context_and_continuations(
    tokenizer: PreTrainedTokenizerBase,
    context: str,
    continuations: Sequence[str],
    special: bool = True,
    nothing: Sequence[int] = (),
) -> tuple[list[int], list[list[int]]]:
    """Ids of a context and of each text that may follow it, as lm-eval 0.4 splits them.

    White space at the end of the context belongs to what follows; each pair is encoded together and cut where the
    context's own encoding ends (`_encode_pair` in lm-eval's `api/model.py`). A context that begins with the token that
    `special` would add gets no second one. `nothing` stands for a context without tokens.
    """
    stripped = context.rstrip()
    first = tokenizer.bos_token or tokenizer.eos_token
    special = special and not (isinstance(first, str) and stripped.startswith(first))
    texts = [stripped, *(context + continuation for continuation in continuations)]
    context_ids, *wholes = tokenizer(texts, add_special_tokens=special, return_attention_mask=False)["input_ids"]
    return [*context_ids] or [*nothing], [whole[len(context_ids) :] for whole in wholes]


def end_of_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """The end-of-sequence token's text; raises Refusal if the tokenizer has none."""
    if not isinstance(tokenizer.eos_token, str):
        raise Refusal("the model's tokenizer has no end-of-sequence token, so an answer could never be ended.")
    return tokenizer.eos_token


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=special))


def _by_template(example: Example, mode: Mode) -> bool:
    return mode == "chat" and not example.is_document


def _pieces(template: ChatTemplate, example: Example, mode: Mode, end: str) -> list[Piece] | RowRefusal:
    try:
        if not example.supervised:
            raise Refusal("none of its messages is learned; give an assistant's message a weight above 0.")
        return chat_pieces(template, example) if _by_template(example, mode) else _plain_pieces(example, end)
    except Refusal as refusal:
        return RowRefusal(example, str(refusal))


def _plain_pieces(example: Example, end: str) -> list[Piece]:
    if example.is_document:
        return [(example.messages[0].content + end, True)]
    if [m.role for m in example.messages] != ["user", "assistant"]:
        raise Refusal("it is a conversation and cannot be rendered plain; use render: chat.")
    if example.tools or any("tool_calls" in m.extra for m in example.messages):
        raise Refusal("it has tools, which plain rendering does not show; use render: chat, or take them out.")
    prompt, completion = (m.content for m in example.messages)
    return [(prompt, False), (completion + end, True)]


def _rendered(
    example: Example, pieces: Sequence[Piece], ids: list[int], ends: list[int], opening: list[int], max_length: int
) -> Rendered | RowRefusal:
    mask = [False] * len(opening)
    start = 0
    for (_, supervised), end in zip(pieces, ends, strict=True):
        mask += [supervised] * (end - start)
        start = end
    mask[0] = False  # nothing stands before the first token that could predict it
    if sum(mask) < 2 and (example.is_document or not example.answer.strip()):
        return RowRefusal(example, "it has nothing to learn but its end; fill in its answer or take it out.")
    ids = [*opening, *ids]
    cut = max(0, len(ids) - max_length)
    if cut and example.is_document:
        ids, mask = ids[:max_length], mask[:max_length]
    elif cut:
        ids, mask = ids[cut:], _mask_behind(mask, cut)
    if not any(mask):
        return RowRefusal(
            example,
            f"its answers do not fit into {max_length} tokens; shorten it, raise tune.max_length, or use a model "
            "with a longer context.",
        )
    return Rendered(tuple(ids), tuple(mask), example.row, example.id, cut, example.file)


def _mask_behind(mask: list[bool], cut: int) -> list[bool]:
    """The mask without its first `cut` places; an answer that has lost its beginning or all context is not learned."""
    kept = mask[cut:]
    if kept[0]:
        rest = kept.index(False) if False in kept else len(kept)
        kept[:rest] = [False] * rest
    return kept
