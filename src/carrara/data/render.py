"""The one place that turns messages into token ids and decides which of them are supervised.

Supervised are the completion and its end-of-turn token, nothing else. What stands before a completion is
rendered exactly as a server renders it when it asks the model for an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from carrara.data.example import Example, Message
from carrara.errors import Refusal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Rendered:
    """Token ids and, for each, whether the model learns to predict it. `cut` tokens were dropped in front."""

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    row: int
    id: str
    cut: int = 0

    @property
    def supervised_count(self) -> int:
        return sum(self.supervised)


def render_example(
    tokenizer: PreTrainedTokenizerBase, example: Example, mode: Literal["chat", "plain"], max_length: int
) -> Rendered:
    """Render one example; a row longer than `max_length` loses the beginning of its context, never its answer.

    Raises Refusal if the model's template cannot render it or the answer alone is too long.
    """
    pieces = _chat_pieces(tokenizer, example) if mode == "chat" else _plain_pieces(tokenizer, example)
    ids: list[int] = []
    mask: list[bool] = []
    text = ""
    for piece, supervised in pieces:
        # A chat template writes its own BOS; plain text gets the tokenizer's.
        added = _continue(tokenizer, text, ids, piece, special=mode == "plain")
        ids += added
        mask += [supervised] * len(added)
        text += piece
    return _fit(ids, mask, example, max_length)


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The ids that ask the model for the next assistant message: what serving feeds, and training's context."""
    return _encode(tokenizer, _template(tokenizer, messages, answer=True), special=False)


def context_and_continuation(
    tokenizer: PreTrainedTokenizerBase, context: str, continuation: str, special: bool = True
) -> tuple[list[int], list[int]]:
    """Ids of a context and of what follows it, as lm-eval 0.4 splits them.

    White space at the end of the context belongs to the continuation; the pair is encoded together
    and cut where the context's own encoding ends (`_encode_pair` in lm-eval's `api/model.py`).
    """
    stripped = context.rstrip()
    continuation = context[len(stripped) :] + continuation
    context_ids = _encode(tokenizer, stripped, special)
    whole = _encode(tokenizer, stripped + continuation, special)
    return context_ids, whole[len(context_ids) :]


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The texts that become control tokens wherever they stand: named special ones and those merely marked so."""
    marked = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return list(dict.fromkeys([*tokenizer.all_special_tokens, *marked]))


def end_of_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """The end-of-sequence token's text; raises Refusal if the tokenizer has none."""
    if not isinstance(tokenizer.eos_token, str):
        raise Refusal("the model's tokenizer has no end-of-sequence token, so an answer could never be ended.")
    return tokenizer.eos_token


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=special))


def _continue(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int], piece: str, special: bool) -> list[int]:
    """The ids of `piece` after `text`; encoded together, unless a token would straddle the border."""
    whole = _encode(tokenizer, text + piece, special)
    if whole[: len(ids)] == ids:
        return whole[len(ids) :]
    return _encode(tokenizer, piece, special=False)


def _plain_pieces(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[tuple[str, bool]]:
    if [m.role for m in example.messages] != ["user", "assistant"]:
        raise Refusal(f"row {example.row} is a conversation and cannot be rendered plain; use render: chat.")
    prompt, completion = (m.content for m in example.messages)
    return [(prompt, False), (completion + end_of_text(tokenizer), True)]


def _chat_pieces(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[tuple[str, bool]]:
    pieces: list[tuple[str, bool]] = []
    done = ""
    for index in example.supervised:
        before = _template(tokenizer, example.messages[:index], answer=True)
        after = _template(tokenizer, example.messages[: index + 1], answer=False)
        if not before.startswith(done) or not after.startswith(before):
            raise Refusal(
                f"row {example.row}: the model's chat template does not render a conversation turn by turn, "
                "so the answer cannot be told from its context; use another model or render: plain."
            )
        answer = _answer(tokenizer, after[len(before) :], example.messages[index].content, example.row)
        pieces += [(before[len(done) :], False), (answer, True)]
        done = before + answer
    return pieces


def _answer(tokenizer: PreTrainedTokenizerBase, rendered: str, content: str, row: int) -> str:
    """The part of the rendered turn from its content to the end-of-turn token, both included."""
    start = rendered.find(content.strip())
    if start < 0:
        raise Refusal(f"row {row}: the model's chat template changes the answer's text; use render: plain.")
    rest = start + len(content.strip())
    ends = [(place, token) for token in control_tokens(tokenizer) if (place := rendered.find(token, rest)) >= 0]
    if not ends:
        raise Refusal(
            f"row {row}: the model's chat template writes no end-of-turn token after an answer, "
            "so the model would never learn to stop; use an instruct model or render: plain."
        )
    place, token = min(ends)
    return rendered[: place + len(token)]


def _template(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], answer: bool) -> str:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise Refusal("the model has no chat template; use render: plain, or an instruct model.")
    for message in messages:
        if forged := [token for token in control_tokens(tokenizer) if token in message.content]:
            raise Refusal(f"a message holds the control token {forged[0]}, which could forge a turn; remove it.")
    turns = [{"role": m.role, "content": m.content} for m in messages]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer)
    except TemplateError as error:
        raise Refusal(f"the model's chat template refuses this conversation: {error}") from error
    assert isinstance(text, str)
    return text


def _fit(ids: list[int], mask: list[bool], example: Example, max_length: int) -> Rendered:
    cut = max(0, len(ids) - max_length)
    kept = mask[cut:]
    if cut and mask[cut] and mask[cut - 1]:  # the rest of an answer whose beginning is gone is not learned
        rest = kept.index(False) if False in kept else len(kept)
        kept[:rest] = [False] * rest
    if cut and not (any(kept) and not kept[0]):
        raise Refusal(
            f"row {example.row} has {len(ids)} tokens and its answers do not fit into {max_length}; "
            "shorten the row or raise tune.max_length."
        )
    return Rendered(tuple(ids[cut:]), tuple(kept), example.row, example.id, cut)
