"""The tokens that end what a model writes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from carrara.data.example import Example, Message
from carrara.data.render.example import render_example
from carrara.errors import Refusal
from carrara.models.load import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def end_tokens(loaded: Loaded) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's, the generation settings', and the chat template's own.

    The template's is what a fine-tune teaches; a base model's settings often name another. Empty if there is none.
    """
    return ends_of(loaded.tokenizer, loaded.network.generation_config.eos_token_id, loaded.context)


def ends_of(tokenizer: PreTrainedTokenizerBase, configured: int | list[int] | None, context: int) -> frozenset[int]:
    """As `end_tokens`, of a model whose network is elsewhere; `configured` are those that its settings name."""
    ends: list[Any] = [tokenizer.eos_token_id]
    ends += configured if isinstance(configured, list) else [configured]
    example = Example((Message("user", "Hello"), Message("assistant", "Hello")), (1,), 0)
    with suppress(Refusal):  # a template without an end of turn: what is configured must do
        ends.append(render_example(tokenizer, example, "chat", context).ids[-1])
    return frozenset(end for end in ends if isinstance(end, int))
