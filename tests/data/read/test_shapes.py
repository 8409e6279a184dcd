"""Shapes: each is detected, said, and becomes messages; every bad row is named by number and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carrara.data.example import Example
from carrara.data.read import BadRow
from carrara.errors import Refusal
from carrara.workspace import Workspace
from tests.data.read.files import GOOD, examples, lines_of, only_bad, opened, read, turns, write

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}


def _rows(tmp_path: Path, *rows: Any, mapping: dict[str, str] | None = None, group: str | None = None) -> list[Any]:
    return read(write(tmp_path / "rows.jsonl", lines_of(rows)), mapping, group)


@pytest.mark.parametrize(
    ("row", "shape", "expected"),
    [
        (GOOD, "prompt/completion", [("user", "What is a marble?"), ("assistant", "A stone.")]),
        ({"prompt": "p", "completion": "c", "system": "s"}, "prompt/completion",
         [("system", "s"), ("user", "p"), ("assistant", "c")]),
        ({"prompt": "p", "completion": "c", "system": None}, "prompt/completion", [("user", "p"), ("assistant", "c")]),
        ({"question": "p", "answer": "c"}, "prompt/completion", [("user", "p"), ("assistant", "c")]),
        ({"Query": "p", "Response": "c"}, "prompt/completion", [("user", "p"), ("assistant", "c")]),
        ({"input": "p", "output": "c"}, "prompt/completion", [("user", "p"), ("assistant", "c")]),
        ({"instruction": "i", "input": "x", "output": "o"}, "instruction", [("user", "i\n\nx"), ("assistant", "o")]),
        ({"instruction": "i", "input": "", "output": "o"}, "instruction", [("user", "i"), ("assistant", "o")]),
        ({"instruction": "i", "input": None, "output": "o"}, "instruction", [("user", "i"), ("assistant", "o")]),
        ({"instruction": "i", "context": "x", "response": "o", "category": "k"}, "instruction",
         [("user", "i\n\nx"), ("assistant", "o")]),
        ({"question": "i", "context": "x", "answer": "o"}, "instruction", [("user", "i\n\nx"), ("assistant", "o")]),
        ({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "u"},
                            {"from": "gpt", "value": "a"}]}, "ShareGPT",
         [("system", "s"), ("user", "u"), ("assistant", "a")]),
        ({"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "u"},
                       {"role": "assistant", "content": "a"}]}, "messages",
         [("system", "s"), ("user", "u"), ("assistant", "a")]),
        ({"sentence": "fine", "label": 1}, "text and label", [("user", "fine"), ("assistant", "1")]),
        ({"text": "fine", "label": "good"}, "text and label", [("user", "fine"), ("assistant", "good")]),
        ({"text": "A long tale.", "url": "x"}, "document", [("assistant", "A long tale.")]),
    ],
)  # fmt: skip
def test_a_shape_is_detected_and_becomes_messages(
    tmp_path: Path, workspace: Workspace, row: dict[str, Any], shape: str, expected: list[tuple[str, str]]
) -> None:
    source, said = opened(workspace, write(tmp_path / "rows.jsonl", lines_of([row])))
    assert source.describe()[0]["shape"] == shape
    assert said[0].startswith(f"rows.jsonl: {shape} ")
    (example,) = source.rows()
    assert isinstance(example, Example)
    assert turns(example) == expected
    assert example.messages[example.supervised[0]].role == "assistant"
    assert (example.file, example.row) == ("rows.jsonl", 1)


def test_a_renamed_field_and_an_unused_one_are_said(tmp_path: Path, workspace: Workspace) -> None:
    row = {"question": "p", "answer": "c", "id": 7}
    source, said = opened(workspace, write(tmp_path / "rows.jsonl", lines_of([row])))
    assert said == ["rows.jsonl: prompt/completion (prompt=question, completion=answer) as jsonl; not used: id"]
    assert source.describe()[0]["mapping"] == {"prompt": "question", "completion": "answer"}


def test_pairs_keep_sentences_and_score_and_state_no_scale(tmp_path: Path) -> None:
    (pair,) = _rows(tmp_path, {"sentence1": "A cat.", "sentence2": "A dog.", "score": 2.5})
    assert (pair.pair, pair.score) == (("A cat.", "A dog."), 2.5)
    assert turns(pair)[1] == ("assistant", "2.5")
    assert turns(pair)[0][1].startswith("Sentence 1: A cat.\nSentence 2: A dog.\n")
    assert not any(digit in turns(pair)[0][1].split("\n")[2] for digit in "0123456789")


def test_labels_are_kept_as_text(tmp_path: Path) -> None:
    rows = _rows(tmp_path, *({"text": "t", "label": label} for label in (0, "0", True, 1.5, " spam ", 10**400)))
    assert [row.label for row in rows] == ["0", "0", "true", "1.5", "spam", "1" + "0" * 400]
    (mapped,) = _rows(tmp_path, {**GOOD, "kind": "stone"}, mapping={"label": "kind"})
    assert (mapped.label, mapped.answer) == ("stone", "A stone.")


def test_tools_calls_and_weights_of_messages_are_kept(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Rome"}, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": ""},
        {"role": "assistant", "content": "wrong", "weight": 0},
        {"role": "user", "content": "again"},
        {"role": "assistant", "content": "Sunny.", "weight": 1},
    ]
    tools = [{"type": "function", "function": {"name": "weather"}}]
    (row,) = _rows(tmp_path, {"messages": messages, "tools": tools})
    assert row.supervised == (1, 5)
    assert turns(row)[:3] == [("user", "Rome?"), ("assistant", ""), ("tool", "")]
    assert row.messages[1].extra == {"tool_calls": [CALL]}
    assert row.messages[2].extra == {"tool_call_id": "c1"}
    assert row.tools == tuple(tools)


def test_a_map_may_name_paths_and_overrides_what_would_be_detected(tmp_path: Path) -> None:
    row = {"data": {"question": "q", "answers": ["a", "b"]}, "prompt": "x", "completion": "y"}
    (mapped,) = _rows(tmp_path, row, mapping={"prompt": "data.question", "completion": "data.answers.1"})
    assert turns(mapped) == [("user", "q"), ("assistant", "b")]
    (half,) = _rows(tmp_path, row, mapping={"prompt": "data.question"})
    assert turns(half) == [("user", "q"), ("assistant", "y")]


@pytest.mark.parametrize(
    ("row", "mapping", "words"),
    [
        (GOOD, {"question": "prompt"}, "names the part 'question'; write --map part=field with the parts prompt, "),
        (GOOD, {"prompt": ""}, "gives no field for 'prompt'"),
        (GOOD, {"prompt": "nothing"}, "prompt=nothing names a field that the first rows of .* they have prompt, compl"),
        (GOOD, {"system": "nothing"}, "system=nothing names a field"),
        ({"a": "x", "b": "y"}, {"prompt": "a"}, "prompt=a leaves out what an example needs"),
        ({"title": "x", "Best Answer": "y"}, {}, 'try --map "prompt=title,completion=Best Answer"'),
        ({"data": {"q": "x", "a": "y"}}, {}, r"try --map prompt=data.q,completion=data.a\."),
        ({"prompt": "x"}, {}, "has the fields prompt, expected prompt and completion.*name the fields with --map"),
        ({"question": "x", "query": "y", "answer": "z"}, {}, "try --map prompt=question,completion=answer"),
        ([1, 2], {}, "no row of .* can be used; the first reason: rows.jsonl, row 1: is no JSON object but a list"),
    ],
)
def test_what_cannot_be_recognised_is_refused_with_a_way_out(
    tmp_path: Path, row: Any, mapping: dict[str, str], words: str
) -> None:
    with pytest.raises(Refusal, match=words) as refused:
        _rows(tmp_path, row, mapping=mapping)
    assert len(str(refused.value).splitlines()) == 1


def test_a_group_is_kept_as_text_and_must_be_in_some_row(tmp_path: Path) -> None:
    rows = [{**GOOD, "g": 7}, GOOD, {**GOOD, "g": "x"}, {**GOOD, "g": None}]
    assert [row.group for row in _rows(tmp_path, *rows, group="g")] == ["7", None, "x", None]
    late = _rows(tmp_path, *[GOOD] * 300, {**GOOD, "g": "late"}, group="g")
    assert late[-1].group == "late"
    with pytest.raises(Refusal, match=r"no row of .*rows.jsonl has the group 'h'; its fields are prompt, completion"):
        _rows(tmp_path, GOOD, group="h")


def _chat(*messages: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "u"}, *messages]}


def _deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ("[1, 2]", None, "is no JSON object but a list"),
        ("{broken", None, "is no JSON (Expecting property name enclosed in double quotes)"),
        ('{"prompt": ' + "9" * 5000 + "}", None, "is no JSON (a number is too long)"),
        ("[" * 100_000, None, "is nested too deeply to be read"),
        ({"prompt": "p"}, "completion", "is missing"),
        ({"prompt": "p", "completion": ""}, "completion", "is empty, so there is nothing to learn"),
        ({"prompt": " ", "completion": "c"}, "prompt", "is empty"),
        ({"prompt": "p", "completion": 3}, "completion", "is a number, not a text"),
        ({"prompt": "p", "completion": True}, "completion", "is true or false, not a text"),
        ({"prompt": "p", "completion": None}, "completion", "is null, not a text"),
        ('{"prompt": "p", "completion": NaN}', "completion", "is NaN, not a text"),
        ({"prompt": "p", "completion": ["c"]}, "completion", "is a list, not a text"),
        ({"prompt": "Say  HELLO ", "completion": "say hello"}, "completion",
         "only repeats the prompt, so there is nothing to learn"),
        ({"prompt": "\ud800", "completion": "c"}, "prompt", "holds half of a surrogate pair, which is no character"),
        ({"prompt": "p", "completion": "a\0b"}, "completion", "holds a NUL character, which is no text"),
        ({"instruction": "p", "output": "c"}, None,
         "is of the shape instruction, but the rows of this file are prompt/completion"),
        (_chat({"role": "assistant", "content": "a"}), None,
         "is of the shape messages, but the rows of this file are prompt/completion"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_by_number_and_field(tmp_path: Path, row: Any, field: str | None, reason: str) -> None:
    _, bad, after = _rows(tmp_path, GOOD, row, GOOD)
    assert isinstance(bad, BadRow)
    assert (bad.file, bad.row, bad.field, bad.reason) == ("rows.jsonl", 2, field, reason)
    assert len(bad.text) <= 2500
    bad.text.encode("utf-8")
    assert isinstance(after, Example)


def test_a_bad_row_says_itself_in_a_sentence() -> None:
    bad = BadRow("rows.jsonl", 12, "completion", "is empty, so there is nothing to learn", "{}")
    assert bad.sentence == "rows.jsonl, row 12, field 'completion': is empty, so there is nothing to learn"
    assert BadRow("a.zip/b.csv", 0, None, "is encrypted", "").sentence == "a.zip/b.csv: is encrypted"


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ({"messages": []}, "messages", "is empty"),
        ({"messages": None}, "messages", "is null, not a list"),
        (_chat(), "messages", "nothing to learn"),
        (_chat({"role": "assistant", "content": "a", "weight": 0}), "messages", "with a weight"),
        (_chat({"role": "assistant", "content": "a", "weight": 2}), "messages[1].weight", "neither 0 nor 1"),
        (
            _chat({"role": "robot", "content": "u"}),
            "messages[1].role",
            "is no known role; known are system, user, assis",
        ),
        (_chat({"role": ["user"], "content": "u"}), "messages[1].role", "is a list"),
        (_chat({"role": "system", "content": "u"}), "messages[1].role", "only the first message"),
        (_chat({"role": "assistant", "content": None}), "messages[1].content", "is null"),
        (_chat({"role": "assistant"}), "messages[1].content", "is missing"),
        (_chat({"role": "assistant", "content": " "}), "messages[1].content", "is empty"),
        (_chat({"role": "assistant", "content": [{"type": "image_url"}]}), "messages[1].content", "no text"),
        (_chat({"role": "assistant", "content": " U "}), "messages[1].content", "only repeats the prompt"),
        (_chat({"role": "assistant", "content": "a", "tool_calls": _deep(40)}), "messages[1]", "nested too deeply"),
        (_chat({"role": "assistant", "content": "a", "name": "\ud800"}), "messages[1]", "surrogate"),
        ({**_chat({"role": "assistant", "content": "a"}), "tools": 3}, "tools", "is a number"),
        ({**_chat({"role": "assistant", "content": "a"}), "tools": "[{"}, "tools", "is a text that is no JSON"),
        ({"messages": [{"role": "assistant", "content": "u"}]}, "messages[0]", "nothing before"),
        ({"messages": ["u"]}, "messages[0]", "is a text, not an object"),
    ],
)
def test_a_bad_conversation_is_named_by_message(tmp_path: Path, row: Any, field: str, reason: str) -> None:
    good = {**_chat({"role": "assistant", "content": "a"}), "tools": []}
    bad = only_bad(_rows(tmp_path, good, row, good))
    assert (bad.row, bad.field) == (2, field)
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("row", "field", "reason"),
    [
        ('{"text": "t", "label": NaN}', "label", "is NaN"),
        ({"text": "t", "label": None}, "label", "is null"),
        ({"text": "t", "label": ""}, "label", "is empty"),
        ({"text": "t"}, "label", "is missing"),
        (GOOD, None, "is of the shape prompt/completion, but the rows of this file are text and label"),
    ],
)
def test_a_bad_label_is_named(tmp_path: Path, row: Any, field: str | None, reason: str) -> None:
    bad = only_bad(_rows(tmp_path, {"text": "t", "label": 1}, row, {"text": "t", "label": 1}))
    assert (bad.field, bad.reason.startswith(reason)) == (field, True)


@pytest.mark.parametrize("score", ["much", "nan", "inf", None, True, 10**400])
def test_a_score_is_a_number(tmp_path: Path, score: Any) -> None:
    pair = {"sentence1": "a", "sentence2": "b", "score": 1}
    assert only_bad(_rows(tmp_path, pair, {**pair, "score": score})).field == "score"


def test_the_shape_of_most_rows_is_that_of_the_file(tmp_path: Path) -> None:
    rows = _rows(tmp_path, {"instruction": "i", "output": "o"}, GOOD, GOOD)
    assert [isinstance(row, Example) for row in rows] == [False, True, True]


def test_real_files_have_the_shapes_that_they_are_known_for(benchmark_folder: Path) -> None:
    first = examples(benchmark_folder / "stsb" / "stsb-en-dev.csv")
    assert (len(first), first[0].score, first[0].row) == (1500, 5.0, 1)
    sentiment = examples(benchmark_folder / "sst2" / "dev.tsv")
    assert (len(sentiment), {row.label for row in sentiment}, sentiment[0].row) == (872, {"0", "1"}, 2)
    bad = only_bad(read(benchmark_folder / "alpaca" / "alpaca_data_5k.jsonl"))
    assert (bad.row, bad.field) == (2912, "output")
    both = examples(benchmark_folder / "gsm8k")
    assert len(both) == 7473 + 1319
    mapped = {"prompt": "Question", "completion": "Best Answer"}
    truthful = examples(benchmark_folder / "truthfulqa" / "TruthfulQA.csv", mapped, "Category")
    assert (len(truthful), len({row.group for row in truthful})) == (817, 38)
