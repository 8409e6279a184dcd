"""The chat in the terminal, without the terminal: what is remembered, taken back, asked anew and saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.serve.conversation import HELP, Command, Conversation, parse_command, save
from carrara.serve.engine import ChatRequest, ContextExceeded, Piece, TextRequest

from .scripted import Scripted


class Counting(Scripted):
    """Says which answer it is; `fails` makes the next one break before its first word."""

    fails = False

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        pieces = super().answer(request, cancelled)
        self.words = (f"answer {len(self.asked)}",)
        return iter(()) if self.fails else pieces


def say(conversation: Conversation, text: str) -> str:
    return _heard(conversation.ask(text, lambda: False))


def _heard(pieces: Iterator[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def contents(conversation: Conversation) -> list[str]:
    return [message.content for message in conversation.messages]


def never() -> bool:
    return False


def test_commands_are_told_from_words_to_the_model() -> None:
    assert parse_command("hello /role") is None
    assert parse_command("/role  a poet ") == Command("role", "a poet")
    assert parse_command("/reset") == Command("reset", "")
    with pytest.raises(Refusal, match="no command '/rol'; /help"):
        parse_command("/rol x")


def test_the_help_names_every_command_and_fits_a_narrow_window() -> None:
    assert max(map(len, HELP.splitlines())) <= 40
    named = [line.split()[0][1:] for line in HELP.splitlines() if line.startswith("/")]
    assert all(parse_command(f"/{name}") == Command(name, "") for name in named)  # type: ignore[arg-type]
    assert len(named) == 9


def test_the_conversation_is_kept_and_the_role_goes_in_front() -> None:
    engine = Scripted()
    conversation = Conversation(engine, "m", role="a poet", max_tokens=9, temperature=0.0, seed=4)
    assert say(conversation, "one") == "Hello wörld"
    say(conversation, "two")
    texts = [message.content for message in engine.asked[1].messages]
    assert texts == ["a poet", "one", "Hello wörld", "two"]
    assert (engine.asked[0].max_tokens, engine.asked[0].temperature, engine.asked[0].seed) == (9, 0.0, 4)
    conversation.reset()
    say(conversation, "three")
    assert [message.content for message in engine.asked[2].messages] == ["a poet", "three"]


def test_a_refused_question_is_forgotten() -> None:
    conversation = Conversation(Scripted(), "m", max_tokens=101)
    with pytest.raises(ContextExceeded):
        say(conversation, "one")
    assert conversation.messages == []


@pytest.mark.parametrize(("role", "text"), [(None, "a\udcff"), ("a\udcff", "hello")])
def test_bytes_that_are_no_text_are_refused(role: str | None, text: str) -> None:
    engine = Scripted()
    with pytest.raises(Refusal, match="no UTF-8 text"):
        say(Conversation(engine, "m", role=role), text)
    assert engine.asked == []


def test_an_answer_broken_off_is_kept_as_far_as_it_came() -> None:
    engine = Scripted()
    engine.gate.clear()
    stopped: list[bool] = []
    conversation = Conversation(engine, "m")
    for _ in conversation.ask("one", lambda: bool(stopped)):
        stopped.append(True)
    assert conversation.messages == [Message("user", "one"), Message("assistant", "Hello")]


def test_an_empty_answer_is_an_answer() -> None:
    conversation = Conversation(Scripted(words=()), "m")
    assert say(conversation, "one") == ""
    assert contents(conversation) == ["one", ""]


def test_another_answer_takes_the_place_of_the_last_under_the_next_seed() -> None:
    engine = Counting()
    conversation = Conversation(engine, "m", seed=2**63 - 2)
    say(conversation, "one")
    say(conversation, "two")
    assert _heard(conversation.regenerate(never)) == "answer 3"
    assert contents(conversation) == ["one", "answer 1", "two", "answer 3"]
    _heard(conversation.regenerate(never))
    _heard(conversation.edit("three", never))
    say(conversation, "four")
    seeds = [request.seed for request in engine.asked]
    assert seeds == [2**63 - 2, 2**63 - 2, 2**63 - 1, -(2**63), 2**63 - 2, 2**63 - 2]
    assert contents(conversation) == ["one", "answer 1", "three", "answer 5", "four", "answer 6"]
    assert [message.content for message in engine.asked[3].messages] == ["one", "answer 1", "two"]


def test_without_a_seed_chance_decides_and_at_temperature_0_nothing_would_change() -> None:
    engine = Counting()
    conversation = Conversation(engine, "m")
    say(conversation, "one")
    _heard(conversation.regenerate(never))
    assert [request.seed for request in engine.asked] == [None, None]
    certain = Conversation(engine, "m", temperature=0)
    say(certain, "one")
    with pytest.raises(Refusal, match="higher --temperature"):
        certain.regenerate(never)


def test_the_last_answer_stays_until_another_comes() -> None:
    engine = Counting()
    conversation = Conversation(engine, "m")
    say(conversation, "one")
    engine.fails = True
    assert _heard(conversation.regenerate(never)) == ""
    assert _heard(conversation.edit("two", never)) == ""
    assert contents(conversation) == ["one", "answer 1"]


def test_undo_takes_back_one_question_after_the_other() -> None:
    conversation = Conversation(Counting(), "m")
    say(conversation, "one")
    say(conversation, "two")
    assert conversation.last_question == "two"
    conversation.undo()
    assert contents(conversation) == ["one", "answer 1"]
    conversation.undo()
    for use in (conversation.undo, lambda: conversation.regenerate(never), lambda: conversation.edit("x", never)):
        with pytest.raises(Refusal, match="nothing was asked yet"):
            use()


def test_two_conversations_share_what_was_said_and_part() -> None:
    conversation = Conversation(Counting(), "m", role="a poet", seed=1)
    say(conversation, "one")
    other = conversation.beside("run/1")
    say(other, "two")
    assert contents(conversation) == ["one", "answer 1"]
    assert contents(other) == ["one", "answer 1", "two", "answer 2"]
    assert (other.role, other.model, other.id == conversation.id) == ("a poet", "run/1", False)


def test_saving_rows_and_pages(tmp_path: Path) -> None:
    conversation = Conversation(Counting(), "m", role="a poet")
    say(conversation, "wo liegt\nCarrara? 🙂")
    other = conversation.beside("run/1")
    save(str(tmp_path / "said.jsonl"), [conversation, other])
    rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text(encoding="utf-8").splitlines()]
    messages = [
        {"role": "system", "content": "a poet"},
        {"role": "user", "content": "wo liegt\nCarrara? 🙂"},
        {"role": "assistant", "content": "answer 1"},
    ]
    assert rows == [{"model": "m", "messages": messages}, {"model": "run/1", "messages": messages}]
    save(str(tmp_path / "said.md"), [conversation, other])
    first, second = (tmp_path / "said.md").read_text(encoding="utf-8").split("# run/1\n")
    assert first.startswith("# m\n\n## system\n\na poet\n\n## user\n\nwo liegt")
    assert second == first.removeprefix("# m\n")


def test_saving_overwrites_nothing_and_refuses_what_it_cannot(tmp_path: Path) -> None:
    conversation = Conversation(Counting(), "m")
    with pytest.raises(Refusal, match="nothing was said yet"):
        save(str(tmp_path / "a.jsonl"), [conversation])
    say(conversation, "one")
    there = tmp_path / "there.md"
    there.write_text("mine")
    for name, sentence in {
        str(there): "is there already",
        str(tmp_path / "a.txt"): r"\.jsonl .* or \.md",
        "": r"\.jsonl .* or \.md",
        str(tmp_path / "no" / "a.md"): "cannot be written",
        str(tmp_path / "\0.md"): "cannot be written",
        "/proc/a.md": "cannot be written",
    }.items():
        with pytest.raises(Refusal, match=sentence):
            save(name, [conversation])
    assert there.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [there]
