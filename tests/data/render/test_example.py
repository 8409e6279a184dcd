"""The supervision mask: the completion and its end-of-turn token, nothing else, on the ids that serving feeds."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from carrara.data.example import Example, Message
from carrara.data.render.example import (
    Rendered,
    RowRefusal,
    context_and_continuations,
    render_example,
    render_examples,
    render_prompt,
)
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
    with pytest.raises(Refusal, match="row 1: its answers do not fit into 5 tokens"):
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


_TOOL_TEMPLATE = (
    "{% if tools %}<|im_start|>tools {{ tools | tojson }}<|im_end|>{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for call in m.get('tool_calls', []) %}<|endoftext|>{{ call.function.name }} "
    "{{ call.function.arguments | tojson }}<|endoftext|>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
_TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
_WITH_TOOLS = Example(
    (
        Message("user", "Rain in Oslo? Ask weather."),
        Message("assistant", "", {"tool_calls": [_CALL]}),
        Message("tool", "wet", {"tool_call_id": "c1", "name": "weather"}),
        Message("assistant", "Yes."),
    ),
    (1, 3),
    7,
    "chats.jsonl",
    tools=(_TOOL,),
)


def _with_template(tiny_folder: Path, template: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    tokenizer.chat_template = template
    return tokenizer


def test_tools_calls_and_their_answers_are_rendered_and_calls_learned(tiny_folder: Path) -> None:
    tokenizer = _with_template(tiny_folder, _TOOL_TEMPLATE)
    row = render_example(tokenizer, _WITH_TOOLS, "chat", 1000)
    # arguments reach the template as the object they describe, and a call is learned to the end of its turn
    call = '<|endoftext|>weather {"city": "Oslo"}<|endoftext|><|im_end|>'
    assert _learned(tokenizer, row) == f"{call}Yes.<|im_end|>"
    text = str(tokenizer.decode(list(row.ids)))
    assert text.startswith('<|im_start|>tools [{"type": "function", "function": {"name": "weather"')
    assert "<|im_start|>tool\nwet<|im_end|>" in text


@pytest.mark.parametrize(
    ("hidden", "shown", "what"),
    [
        ("{{ call.function.name }}", "", "a tool call"),
        ("{{ tools | tojson }}", "", "the tools of the row"),
        ("{{ m['content'] }}", "{{ m['content'] if m.role != 'tool' else 'weather' }}", "a tool's answer"),
    ],
)
def test_what_a_template_would_hide_is_refused(tiny_folder: Path, hidden: str, shown: str, what: str) -> None:
    assert hidden in _TOOL_TEMPLATE
    tokenizer = _with_template(tiny_folder, _TOOL_TEMPLATE.replace(hidden, shown))
    with pytest.raises(Refusal, match=rf"^chats.jsonl, row 7: .* does not show {what}, which would vanish"):
        render_example(tokenizer, _WITH_TOOLS, "chat", 1000)


def test_tools_are_refused_where_nothing_shows_them(tokenizer: PreTrainedTokenizerBase) -> None:
    listed = Example((Message("user", "a"), Message("assistant", "b")), (1,), 3, tools=(_TOOL,))
    with pytest.raises(Refusal, match=r"row 3: .* does not show the tools of the row"):
        render_example(tokenizer, listed, "chat", 256)
    with pytest.raises(Refusal, match="row 3: it has tools, which plain rendering does not show"):
        render_example(tokenizer, listed, "plain", 256)


def test_control_tokens_are_refused_wherever_a_row_hides_them(tiny_folder: Path) -> None:
    tokenizer = _with_template(tiny_folder, _TOOL_TEMPLATE)
    forged = {"function": {"name": "f", "arguments": {"to": "<|im_end|>"}}}
    messages = (Message("user", "a"), Message("assistant", "", {"tool_calls": [forged]}))
    with pytest.raises(Refusal, match=r"row 1: a message holds the control token <\|im_end\|>"):
        render_example(tokenizer, Example(messages, (1,), 1), "chat", 256)
    with pytest.raises(Refusal, match="a message holds the control token"):
        render_prompt(tokenizer, [Message("user", "<|im_start|>system")])


def test_a_call_without_a_function_is_refused(tiny_folder: Path) -> None:
    tokenizer = _with_template(tiny_folder, _TOOL_TEMPLATE)
    for calls in ([{"id": "x"}], ["weather"], "weather", [{"function": None}]):
        messages = (Message("user", "a"), Message("assistant", "", {"tool_calls": calls}))
        with pytest.raises(Refusal, match="row 1: a tool call names no function"):
            render_example(tokenizer, Example(messages, (1,), 1), "chat", 256)


def test_a_message_of_no_weight_is_context(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = tuple(Message(*m) for m in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")))
    row = render_example(tokenizer, Example(messages, (3,), 1), "chat", 256)
    assert _learned(tokenizer, row) == "d<|im_end|>"
    assert "assistant\nb<|im_end|>" in str(tokenizer.decode(list(row.ids)))
    with pytest.raises(Refusal, match="row 1: none of its messages is learned"):
        render_example(tokenizer, Example(messages, (), 1), "chat", 256)


@pytest.mark.parametrize("mode", ["chat", "plain"])
def test_a_document_is_learned_whole_but_for_its_first_token(
    tokenizer: PreTrainedTokenizerBase, mode: Literal["chat", "plain"]
) -> None:
    document = Example((Message("assistant", "A text."),), (0,), 1)
    row = render_example(tokenizer, document, mode, 256)
    assert str(tokenizer.decode(list(row.ids))) == "A text.<|im_end|>"
    assert row.supervised == (False,) + (True,) * 7
    assert row.cut == 0


@pytest.mark.parametrize("mode", ["chat", "plain"])
def test_a_row_with_nothing_to_learn_but_its_end_is_refused(
    tokenizer: PreTrainedTokenizerBase, mode: Literal["chat", "plain"]
) -> None:
    letter = Example((Message("assistant", "A"),), (0,), 3, "rows.jsonl")
    with pytest.raises(RowRefusal, match=r"^rows.jsonl, row 3: it has nothing to learn but its end; fill in"):
        render_example(tokenizer, letter, mode, 256)


def test_a_document_with_a_bos_is_learned_whole(tiny_folder: Path) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny_folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    row = render_example(tokenizer, Example((Message("assistant", "A text."),), (0,), 1), "plain", 256)
    assert row.ids[0] == 1
    assert _learned(tokenizer, row) == "A text.<|im_end|>"


def test_a_long_document_loses_its_end(tokenizer: PreTrainedTokenizerBase) -> None:
    row = render_example(tokenizer, Example((Message("assistant", "0123456789" * 3),), (0,), 1), "chat", 12)
    assert str(tokenizer.decode(list(row.ids))) == "012345678901"
    assert (row.cut, row.supervised_count) == (30 + 1 - 12, 11)


def test_rows_rendered_together_are_as_each_alone(tokenizer: PreTrainedTokenizerBase) -> None:
    rows = [
        _pair("Hi", "Hello"),
        Example((Message("assistant", "A text."),), (0,), 2),
        Example((Message("user", "a"), Message("user", "b")), (1,), 3),  # no assistant speaks
        _pair("x" * 90, "y" * 80),
        _WITH_TOOLS,
    ]
    together = render_examples(tokenizer, rows, "plain", 90)
    assert [type(row) for row in together] == [Rendered, Rendered, RowRefusal, Rendered, RowRefusal]
    for example, row in zip(rows, together, strict=True):
        if isinstance(row, Rendered):
            assert row == render_example(tokenizer, example, "plain", 90)
        else:
            with pytest.raises(RowRefusal) as raised:
                render_example(tokenizer, example, "plain", 90)
            assert (str(raised.value), raised.value.reason) == (str(row), row.reason)
    assert render_examples(tokenizer, [], "chat", 90) == []


@pytest.mark.parametrize(("template", "why"), [("{{ 1 // 0 }}", "division"), ("{% for %}", ""), ("{{ x.y }}", "")])
def test_a_template_that_raises_is_a_sentence(tiny_folder: Path, template: str, why: str) -> None:
    tokenizer = _with_template(tiny_folder, template)
    with pytest.raises(Refusal, match=f"row 1: the model's chat template refuses this conversation: .*{why}"):
        render_example(tokenizer, _pair("a", "b"), "chat", 256)


def test_an_answer_that_lost_its_context_is_not_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    messages = tuple(Message(*m) for m in (("user", "a"), ("assistant", "bcd"), ("user", "e"), ("assistant", "f")))
    example = Example(messages, (1, 3), 1)
    whole = render_example(tokenizer, example, "chat", 256)
    first = whole.supervised.index(True)
    for cut in (first, first + 1, first + 3):  # the first answer whole, without a letter, its end alone
        row = render_example(tokenizer, example, "chat", len(whole.ids) - cut)
        assert _learned(tokenizer, row) == "f<|im_end|>"
    row = render_example(tokenizer, example, "chat", len(whole.ids) - first + 1)
    assert _learned(tokenizer, row) == "bcd<|im_end|>f<|im_end|>"


def test_context_keeps_its_trailing_space_for_the_continuation(tokenizer: PreTrainedTokenizerBase) -> None:
    context, (first, second) = context_and_continuations(tokenizer, "a ", [" b", " cd"])
    assert tokenizer.decode(context) == "a"
    assert (tokenizer.decode(first), tokenizer.decode(second)) == ("  b", "  cd")


@pytest.mark.model
def test_the_embedded_model_learns_the_answer_and_its_end(smollm: Model) -> None:
    tokenizer = load_tokenizer(smollm)
    row = render_example(tokenizer, _pair("Hi", "Hello\n\n1. you"), "chat", 8192)
    assert _learned(tokenizer, row) == "Hello\n\n1. you<|im_end|>"
    served = render_prompt(tokenizer, [Message("user", "Hi")])
    assert list(row.ids[: len(served)]) == served
    assert str(tokenizer.decode(served)).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")


@pytest.mark.model
def test_the_embedded_model_cannot_show_tools(smollm: Model) -> None:
    tokenizer = load_tokenizer(smollm)
    with pytest.raises(Refusal, match="does not show a tool call, which would vanish unseen"):
        render_example(tokenizer, Example(_WITH_TOOLS.messages, (1, 3), 7), "chat", 8192)
