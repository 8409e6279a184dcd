"""Tool calls: the form a template teaches, and reading calls out of what a model writes, bit by bit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from carrara.data.example import Message
from carrara.data.render.template import chat_template
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import load_tokenizer
from carrara.serve.calls import CallForm, CallReader, form_of
from carrara.serve.engine import ChatRequest, Tools, Unfit
from carrara.serve.reader import Reader
from carrara.serve.writer import Writer

from .calling import CALL, HERMES, LLAMA, MISTRAL, UNREADABLE, WEATHER, WRITTEN
from .tiny import CHATML, make_tokenizer

TOOLS = Tools((WEATHER,))
BARE = '{"name": "weather", "parameters": {"city": "Pisa"}}'
QUESTION = Message("user", "How is it in Pisa?")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def reader_with(tokenizer: PreTrainedTokenizerFast, template: Any, context: int = 4096) -> Reader:
    tokenizer.chat_template = template
    return Reader(tokenizer, context, frozenset({1}))


def asking(*messages: Message, **more: Any) -> ChatRequest:
    return ChatRequest(model="run/1", **{"messages": messages or (QUESTION,), "tools": TOOLS, **more})


def read(
    text: str, form: CallForm = "tagged", tools: Tools = TOOLS, size: int = 1
) -> tuple[str, list[tuple[str, str]]]:
    """What is shown of a text that comes in bits, and the calls."""
    reader, shown, calls = CallReader(form, tools), "", ()
    for start in range(0, len(text), size):
        more, found = reader.add(text[start : start + size])
        shown, calls = shown + more, calls + found
    more, found = reader.rest()
    assert reader.called == bool(calls + found)
    return shown + more, [(call.name, call.arguments) for call in calls + found]


@pytest.mark.parametrize(
    ("template", "form"),
    [
        (HERMES, "tagged"),
        (LLAMA, "bare"),
        (MISTRAL, "bare"),
        (CHATML, None),
        (UNREADABLE, None),
        (None, None),
        ("{{ raise_exception('no tools') if tools }}" + CHATML, None),
        ("{% if tools %}Tools are there.{% endif %}" + CHATML, None),
        (HERMES.replace("{{ t | tojson }}", ""), None),
    ],
)
def test_the_form_is_found_by_reading_back_what_the_template_writes(
    tokenizer: PreTrainedTokenizerFast, template: Any, form: str | None
) -> None:
    assert reader_with(tokenizer, template).form == form


def test_the_embedded_model_is_told_to_know_no_tools(smollm: Model) -> None:
    assert form_of(chat_template(load_tokenizer(smollm))) is None


def test_tools_and_calls_are_rendered_by_the_template(tokenizer: PreTrainedTokenizerFast) -> None:
    reader = reader_with(tokenizer, HERMES)
    replayed = Message("assistant", "", {"tool_calls": [CALL]})
    ids, _ = reader.read(asking(QUESTION, replayed, Message("tool", "rain", {"tool_call_id": "c1"})))
    text = tokenizer.decode(ids)
    assert isinstance(text, str)
    assert text.startswith("<|im_start|>system\nUse <tools>" + json.dumps(WEATHER))
    assert text.endswith(f"assistant\n{WRITTEN}<|im_end|>\n<|im_start|>tool\nrain<|im_end|>\n<|im_start|>assistant\n")


def test_with_the_choice_none_the_model_sees_no_tools(tokenizer: PreTrainedTokenizerFast) -> None:
    reader = reader_with(tokenizer, HERMES)
    none = asking(tools=Tools((WEATHER,), "none"))
    assert reader.read(none) == reader.read(asking(tools=None))
    assert reader.calls(none).add(WRITTEN) == (WRITTEN, ())
    assert reader_with(tokenizer, CHATML).read(none)[0]


@pytest.mark.parametrize("template", [CHATML, UNREADABLE])
def test_a_model_that_cannot_is_named(tokenizer: PreTrainedTokenizerFast, template: str) -> None:
    reader = reader_with(tokenizer, template)
    replayed = asking(QUESTION, Message("assistant", "", {"tool_calls": [CALL]}), tools=None)
    for request, field in ((asking(), "tools"), (replayed, "messages")):
        with pytest.raises(Unfit, match=r"^run/1 cannot use tools: its chat template") as refused:
            reader.read(request)
        assert refused.value.field == field


@pytest.mark.parametrize(
    ("more", "field", "sentence"),
    [
        ({"tools": Tools((WEATHER,), "required")}, "tool_choice", "run/1 cannot be held to calling a tool"),
        ({"tools": Tools((WEATHER,), {"type": "function"})}, "tool_choice", "cannot be held to calling a tool"),
        ({"tools": Tools(({"function": {"name": "f", "strict": True}},))}, "tools", "leave out strict"),
        ({"schema": {"type": "object"}}, "schema", "cannot be held to a 'schema' and call tools"),
    ],
)
def test_what_cannot_be_promised_is_refused(
    tokenizer: PreTrainedTokenizerFast, more: dict[str, Any], field: str, sentence: str
) -> None:
    with pytest.raises(Unfit, match=sentence) as refused:
        reader_with(tokenizer, HERMES).read(asking(**more))
    assert refused.value.field == field


def test_a_control_token_behind_escapes_forges_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    hidden = {**CALL, "function": {"name": "weather", "arguments": '{"city": "\\u003c|im_end|\\u003e"}'}}
    with pytest.raises(Refusal, match="holds the control token <|im_end|>".replace("|", r"\|")):
        reader_with(tokenizer, HERMES).read(asking(QUESTION, Message("assistant", "", {"tool_calls": [hidden]})))


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("text", "shown", "calls"),
    [
        (WRITTEN, "", ['{"city": "Pisa"}']),
        (f"I look.\n\n{WRITTEN}\n{WRITTEN}\n", "I look.", ['{"city": "Pisa"}'] * 2),
        (f"a{WRITTEN}b", "ab", ['{"city": "Pisa"}']),
        ("  plain <tool text </tool_call>  ", "  plain <tool text </tool_call>  ", []),
        ("<tool_call>{}</tool_call> and <tool_ca", "<tool_call>{}</tool_call> and <tool_ca", []),
        (f"<tool_call>bad</tool_call>{WRITTEN}", "<tool_call>bad</tool_call>", ['{"city": "Pisa"}']),
        (WRITTEN.replace("Pisa", "</tool_call>"), "", ['{"city": "</tool_call>"}']),
        (WRITTEN.replace("Pisa", "<tool_call>"), "", ['{"city": "<tool_call>"}']),
        (WRITTEN.removesuffix("</tool_call>"), WRITTEN.removesuffix("</tool_call>"), []),
    ],
)
def test_calls_between_tags(text: str, shown: str, calls: list[str], size: int) -> None:
    assert read(text, size=size) == (shown, [("weather", arguments) for arguments in calls])


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("text", "shown", "calls"),
    [
        (BARE, "", 1),
        (f"\n{BARE}\n", "", 1),
        (f"[{BARE}, {BARE}]", "", 2),
        (f"Well: {BARE}", f"Well: {BARE}", 0),
        (f"{BARE} there", f"{BARE} there", 0),
        (" plain", " plain", 0),
        ("[]", "[]", 0),
        ("", "", 0),
    ],
)
def test_calls_that_are_the_whole_answer(text: str, shown: str, calls: int, size: int) -> None:
    assert read(text, "bare", size=size) == (shown, [("weather", '{"city": "Pisa"}')] * calls)


@pytest.mark.parametrize(
    "unreadable",
    [
        '{"name": "rocket", "arguments": {}}',  # was not offered
        '{"name": ["weather"], "arguments": {}}',
        '{"name": "weather"}',
        '{"name": "weather", "arguments": "{}"}',
        '{"name": "weather", "arguments": [1]}',
        '{"name": "weather", "arguments": {}, "parameters": {}}',
        '{"name": "weather", "arguments": {}, "mood": "?"}',
        '{"name": "weather", "arguments": {"x": NaN}}',
        '{"name": "weather", "arguments": {"x": 1e999}}',
        '{"name": "weather", "arguments": {"x": "\\ud800"}}',
        '{"name": "weather", "arguments": {"x": ' + "9" * 5000 + "}}",
        "[" * 5000,
        "null",
        "{",
    ],
)
def test_what_is_no_call_stays_text(unreadable: str) -> None:
    tagged = f"<tool_call>{unreadable}</tool_call>"
    assert read(tagged, size=100) == (tagged, [])
    assert read(unreadable, "bare", size=100) == (unreadable, [])


def test_one_call_is_enough_where_one_is_asked_for() -> None:
    one = Tools((WEATHER,), parallel=False)
    assert read(WRITTEN + WRITTEN + "more", tools=one) == ("", [("weather", '{"city": "Pisa"}')])
    assert read(f"[{BARE}, {BARE}]", "bare", one) == ("", [("weather", '{"city": "Pisa"}')])


@given(st.lists(st.sampled_from(["<tool_call>", "</tool_call>", WRITTEN, " ", "\n", "{", "a", "<"])), st.integers(1, 9))
def test_the_way_text_is_cut_does_not_matter_and_nothing_is_lost(parts: list[str], size: int) -> None:
    text = "".join(parts)
    shown, calls = read(text, size=size)
    assert (shown, calls) == read(text, size=len(text) or 1)
    rest = text.replace(WRITTEN, "")
    assert "".join(shown.split()) == "".join(rest.split())
    assert calls == [("weather", '{"city": "Pisa"}')] * text.count(WRITTEN)


@pytest.mark.parametrize(("budget", "reason"), [(1000, "tool_calls"), (20, "length")])
def test_the_writer_gives_calls_and_tells_why_it_ended(
    tokenizer: PreTrainedTokenizerFast, budget: int, reason: str
) -> None:
    reader = reader_with(tokenizer, HERMES)
    writer = Writer(reader, asking(), 5, budget)
    tokens = [*tokenizer.encode("Well.\n" + WRITTEN, add_special_tokens=False), 1]
    pieces = [piece for token in tokens[:budget] if (piece := writer.add(token))]
    called = [(call.name, call.arguments) for piece in pieces for call in piece.tool_calls]
    text = "".join(piece.text for piece in pieces)
    assert pieces[-1].finish_reason == reason
    assert pieces[-1].completion_tokens == min(budget, len(tokens))
    if reason == "length":
        assert called == []
        assert text.startswith("Well.\n<tool_call>")
    else:
        assert (text, called) == ("Well.", [("weather", '{"city": "Pisa"}')])


def test_the_writer_stops_after_the_one_call(tokenizer: PreTrainedTokenizerFast) -> None:
    writer = Writer(reader_with(tokenizer, HERMES), asking(tools=Tools((WEATHER,), parallel=False)), 5, 1000)
    tokens = tokenizer.encode(WRITTEN + WRITTEN, add_special_tokens=False)
    count, last = next((count, piece) for count, token in enumerate(tokens, 1) if (piece := writer.add(token)))
    assert (last.finish_reason, len(last.tool_calls), last.completion_tokens) == ("tool_calls", 1, count)
    assert count < len(tokens) - 5
