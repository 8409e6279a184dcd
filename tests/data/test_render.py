"""The supervision mask: the completion and its end-of-turn token, nothing else, on the ids that serving feeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from carrara.data.example import Example, Message
from carrara.data.render import Rendered, context_and_continuation, render_example, render_prompt
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_folder)


def _pair(prompt: str, completion: str) -> Example:
    return Example((Message("user", prompt), Message("assistant", completion)), (1,), 1)


def _learned(tokenizer: PreTrainedTokenizerBase, row: Rendered) -> str:
    return str(tokenizer.decode([t for t, learned in zip(row.ids, row.supervised) if learned]))


def test_chat_learns_the_answer_and_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    row = render_example(tokenizer, _pair("Hi", "Hello you"), "chat", 256)
    assert _learned(tokenizer, row) == "Hello you<|im_end|>"
    text = str(tokenizer.decode(list(row.ids)))
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello you<|im_end|>"


def test_every_assistant_turn_is_learned_and_nothing_between(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = tuple(Message(*m) for m in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")))
    row = render_example(tokenizer, Example(messages, (1, 3), 1), "chat", 256)
    assert _learned(tokenizer, row) == "b<|im_end|>d<|im_end|>"


def test_plain_joins_prompt_and_completion(tokenizer: PreTrainedTokenizerBase) -> None:
    row = render_example(tokenizer, _pair("Q:", " A"), "plain", 256)
    assert str(tokenizer.decode(list(row.ids))) == "Q: A<|im_end|>"
    assert _learned(tokenizer, row) == " A<|im_end|>"


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=30).filter(str.strip), st.text(min_size=1, max_size=30).filter(str.strip))
def test_training_context_is_the_serving_prompt(tiny_folder: Path, prompt: str, completion: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    row = render_example(tokenizer, _pair(prompt, completion), "chat", 10_000)
    served = render_prompt(tokenizer, [Message("user", prompt)])
    assert list(row.ids[: len(served)]) == served
    assert not any(row.supervised[: len(served)])
    assert all(row.supervised[len(served) :])


def test_a_long_row_loses_its_beginning_and_never_its_answer(tokenizer: PreTrainedTokenizerBase) -> None:
    row = render_example(tokenizer, _pair("x" * 200, "answer"), "plain", 50)
    assert (len(row.ids), row.cut) == (50, 200 + 7 - 50)
    assert _learned(tokenizer, row) == "answer<|im_end|>"
    with pytest.raises(Refusal, match="row 1 has 207 tokens"):
        render_example(tokenizer, _pair("x" * 200, "answer"), "plain", 5)


def test_templates_that_cannot_teach_are_refused(tiny_folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    with pytest.raises(Refusal, match="no end-of-turn token"):
        render_example(tokenizer, _pair("a", "b"), "chat", 256)
    tokenizer.chat_template = None
    with pytest.raises(Refusal, match="no chat template"):
        render_example(tokenizer, _pair("a", "b"), "chat", 256)


def test_context_keeps_its_trailing_space_for_the_continuation(tokenizer: PreTrainedTokenizerBase) -> None:
    context, continuation = context_and_continuation(tokenizer, "a ", " b")
    assert tokenizer.decode(context) == "a"
    assert tokenizer.decode(continuation) == "  b"


@pytest.mark.model
def test_the_embedded_model_learns_the_answer_and_its_end(smollm: Model) -> None:
    tokenizer = load_tokenizer(smollm)
    row = render_example(tokenizer, _pair("Hi", "Hello\n\n1. you"), "chat", 8192)
    assert _learned(tokenizer, row) == "Hello\n\n1. you<|im_end|>"
    served = render_prompt(tokenizer, [Message("user", "Hi")])
    assert list(row.ids[: len(served)]) == served
    assert str(tokenizer.decode(served)).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
