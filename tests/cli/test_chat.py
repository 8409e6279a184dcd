"""`carrara chat`: from scripts and at a terminal, alone and beside another model, stored roles, kept conversations."""

from __future__ import annotations

import codecs
import fcntl
import io
import json
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from carrara.cli.screen import listen_silently, printable
from carrara.cli.talk import Talk
from carrara.data.example import Example
from carrara.data.read import open_source
from carrara.models import resolve_model
from carrara.progress import Silent
from carrara.serve.conversation import Conversation
from carrara.serve.engine import Piece
from carrara.workspace import Draft, Workspace
from tests.cli.calling import Result, call
from tests.cli.terminal import drawn
from tests.serve.scripted import Scripted
from tests.tiny import write_tiny_adapter

SETTINGS = ("--temperature", "0", "--max-tokens", "6")


@dataclass(frozen=True)
class Place:
    """A workspace with a base and a run that was tuned on it."""

    workspace: Path
    base: str
    run: str

    def chat(self, *options: str, typed: str = "", settings: tuple[str, ...] = SETTINGS) -> Result:
        with mock.patch("sys.stdin", io.StringIO(typed)):
            return call(self.workspace, "chat", *settings, *options)


@pytest.fixture(scope="module")
def place(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("chat")
    workspace = Workspace(folder / "workspace")
    adapter = write_tiny_adapter(tiny_folder, folder / "adapter", lora_alpha=32)

    def build(draft: Draft) -> None:
        for path in adapter.iterdir():
            shutil.copy(path, draft.path)

    base = resolve_model(workspace, str(tiny_folder), Silent())
    run = workspace.make("run", {"adapter": "random"}, build, name="run", inputs={"model": base.source})
    return Place(workspace.root, str(tiny_folder), run.reference)


def test_one_question_from_a_script(place: Place) -> None:
    plain = place.chat(place.base, "--once", "hello", "--engine", "transformers")
    answer = place.chat(place.base, "--once", "hello", "--json").json
    assert plain.out == printable(answer["answer"]) + "\n"
    assert plain.err == "(cut after 6 tokens; --max-tokens allows more)\n"
    assert (answer["model"], answer["finish_reason"], answer["completion_tokens"]) == (place.base, "length", 6)
    assert answer["prompt_tokens"] == len("user\nhello\nassistant\n") + 3
    assert answer["seconds"] >= 0


def test_lines_from_a_pipe(place: Place) -> None:
    typed = "/help\n\nhello\n/nonsense\n/reset\nhello\n/quit\nnever asked\n"
    result = place.chat(place.base, typed=typed)
    assert result.out == place.chat(place.base, "--once", "hello").out * 2
    assert "/role [ROLE]" in result.err
    assert "no command '/nonsense'" in result.err


def test_a_backslash_of_a_script_is_a_backslash(place: Place) -> None:
    assert place.chat(place.base, typed="hello\\\n").out == place.chat(place.base, "--once", "hello\\").out


def test_json_is_for_a_single_question(place: Place) -> None:
    assert place.chat(place.base, "--json").sentence.startswith("--json needs --once")


def test_edit_undo_and_regenerate(place: Place) -> None:
    asked_at_once = place.chat(place.base, "--once", "hello").out
    typed = "/undo\nhowdy\n/edit hello\n/edit\n/regenerate\n/undo\nhello\n"
    result = place.chat(place.base, typed=typed)
    assert result.out.endswith(asked_at_once * 2)
    assert "nothing was asked yet" in result.err
    assert "write /edit TEXT" in result.err
    assert "at temperature 0" in result.err
    drawn = place.chat(place.base, typed="hello\n/regenerate\n", settings=("--max-tokens", "6", "--seed", "4")).out
    once = [
        place.chat(place.base, "--once", "hello", settings=("--max-tokens", "6", "--seed", seed)).out
        for seed in ("4", "5")
    ]
    assert once[0] != once[1]
    assert drawn == "".join(once)


def test_a_role_by_its_name_or_in_words(place: Place) -> None:
    assert call(place.workspace, "roles", "add", "poet", "You rhyme.").code == 0
    in_words = place.chat(place.base, "--role", "You rhyme.", "--once", "hello").out
    assert in_words != place.chat(place.base, "--once", "hello").out
    assert place.chat(place.base, "--role", "poet", "--once", "hello").out == in_words
    assert place.chat(place.base, typed="/role poet\nhello\n/role\n/reset\nhello\n").out == (
        in_words + place.chat(place.base, "--once", "hello").out
    )
    assert "no stored role 'pote'" in place.chat(place.base, "--role", "pote", "--once", "hello").err


def test_base_and_tuned_beside_each_other(place: Place) -> None:
    alone = {name: place.chat(name, "--once", "hello").out for name in (place.run, place.base)}
    assert alone[place.run] != alone[place.base]
    expected = f"== {place.run} ==\n{alone[place.run]}== {place.base} ==\n{alone[place.base]}"
    assert place.chat(place.run, "--compare", place.base, "--once", "hello").out == expected
    typed = "/compare\nhello\n/compare\n/reset\nhello\n"
    assert place.chat(place.run, typed=typed).out == expected + alone[place.run]
    told = place.chat(place.run, "--compare", place.base, "--once", "hello", "--json").json
    assert (told["model"], told["compared"]["model"]) == (place.run, place.base)
    assert printable(told["compared"]["answer"]) + "\n" == alone[place.base]


def test_comparing_with_nobody_is_refused_and_the_chat_goes_on(place: Place) -> None:
    typed = f"/compare\n/compare {place.base}\n/compare nobody\nhello\n"
    result = place.chat(place.base, typed=typed)
    assert result.out == place.chat(place.base, "--once", "hello").out
    for sentence in ("is no run, so there is no base", "is who answers already", "there is no model 'nobody'"):
        assert sentence in result.err


def test_what_is_saved_can_be_prepared(place: Place, tmp_path: Path) -> None:
    saved = tmp_path / "said.jsonl"
    typed = f"hello\nand you?\n/save {saved}\n/save {saved}\n/save {tmp_path / 'page.md'}\n"
    result = place.chat(place.run, "--role", "a poet", "--compare", place.base, typed=typed)
    assert "is there already" in result.err
    assert "## assistant" in (tmp_path / "page.md").read_text(encoding="utf-8")
    rows = [json.loads(line)["messages"] for line in saved.read_text(encoding="utf-8").splitlines()]
    assert [[message["role"] for message in row] for row in rows] == [
        ["system", "user", "assistant", "user", "assistant"]
    ] * 2
    source = open_source(str(saved), {}, None, Workspace(place.workspace), Silent())
    assert [each.to_json()["messages"] for each in source.rows() if isinstance(each, Example)] == rows


def test_nothing_is_kept_unless_asked_for(place: Place, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    own = Place(workspace, place.base, "")
    own.chat(place.base, typed="a secret\n")
    assert all(b"a secret" not in path.read_bytes() for path in workspace.rglob("*") if path.is_file())
    assert call(workspace, "conversations", "list", "--json").json == {"conversations": []}


def test_a_kept_conversation_is_listed_shown_and_erased(place: Place, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    own = Place(workspace, place.base, "")
    with mock.patch("getpass.getuser", return_value="anna"):
        own.chat(place.base, "--keep", "--role", "a poet", typed="oops\n/edit a secret\nmore\n/undo\n")
    (entry,) = call(workspace, "conversations", "list", "--json").json["conversations"]
    assert (entry["person"], entry["model"], entry["messages"]) == ("anna", place.base, 3)
    messages = call(workspace, "conversations", "show", entry["conversation"], "--json").json["messages"]
    assert [(m["role"], m["tokens"]) for m in messages] == [("system", None), ("user", None), ("assistant", 6)]
    assert messages[1]["text"] == "a secret"
    shown = call(workspace, "conversations", "show", entry["conversation"]).out
    assert "a secret" in shown
    assert "\x1b" not in shown
    assert "anna" in call(workspace, "conversations", "list").out
    assert call(workspace, "conversations", "erase", "--person", "anna", "--json").json["erased"] == 3
    assert all(b"a secret" not in path.read_bytes() for path in workspace.rglob("*") if path.is_file())
    assert "no conversations of 'anna'" in call(workspace, "conversations", "erase", "--person", "anna").sentence


@pytest.mark.parametrize("stopped", ["m", "run/1"])
def test_a_turn_that_only_one_of_two_took_is_undone(stopped: str) -> None:
    engine = Scripted()
    first = Conversation(engine, "m")
    both = [first, first.beside("run/1")]
    kept: list[int | None] = []
    talk = Talk(both, lambda name: (engine, name), str, lambda conversation, tokens: kept.append(tokens))

    def ask(conversation: Conversation, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        return iter(()) if conversation.model == stopped else conversation.ask("one", cancelled)

    talk.answer(ask, listen_silently, lambda: False)
    assert [conversation.messages for conversation in both] == [[], []]
    talk.answer(lambda conversation, cancelled: conversation.ask("two", cancelled), listen_silently, lambda: False)
    assert [len(conversation.messages) for conversation in both] == [2, 2]
    assert kept[2:] == [2, 2]


# ---- at a terminal ----

SCRIPT = """
import sys
from carrara.cli.talk import Talk
from carrara.serve.conversation import Conversation
from tests.serve.scripted import Scripted

engine = Scripted(tuple(sys.argv[1].split("|")))
if sys.argv[2] == "wait":
    engine.gate.clear()
talk = Talk([Conversation(engine, "m")], lambda name: (engine, "run/1"), lambda role: role, lambda c, tokens: None)
talk.run()
for request in engine.asked:
    print("asked", [message.content for message in request.messages])
print("left after", engine.gave_up, flush=True)
"""


@dataclass
class Terminal:
    """A chat at a pseudo-terminal: what is typed, and what was shown so far."""

    handle: int
    process: subprocess.Popen[bytes]
    seen: str = ""
    _decoder: codecs.IncrementalDecoder = field(default_factory=codecs.getincrementaldecoder("utf-8"))

    def wait_for(self, mark: str, times: int = 1) -> None:
        end = time.monotonic() + 20
        while self.seen.count(mark) < times:
            readable = select.select([self.handle], [], [], end - time.monotonic())[0]
            assert readable, self.seen
            self.seen += self._decoder.decode(os.read(self.handle, 1024))

    def type(self, text: str) -> None:
        os.write(self.handle, text.encode())


Open = Callable[..., Any]


@pytest.fixture
def terminal(tmp_path: Path) -> Open:
    @contextmanager
    def start(words: str, columns: int = 80, rows: int = 24, wait: bool = False) -> Iterator[Terminal]:
        handle, inside = os.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        root = str(Path(__file__).parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        environment |= {"TERM": "xterm", "PYTHONIOENCODING": "utf-8", "INPUTRC": "/dev/null"}
        environment = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
        command = [sys.executable, "-c", SCRIPT, words, "wait" if wait else "go"]
        with subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True
        ) as process:
            opened = Terminal(handle, process)
            try:
                opened.wait_for("> ")
                yield opened
            finally:
                process.kill()
                os.close(inside)
                os.close(handle)

    return start


def test_ctrl_c_stops_an_answer_and_ctrl_d_leaves(terminal: Open) -> None:
    with terminal("Hello| wörld", wait=True) as chat:
        chat.type("howdy\n")
        chat.wait_for("Hello")
        chat.process.send_signal(signal.SIGINT)
        chat.wait_for("stopped after")
        chat.wait_for("> ", times=2)
        chat.type("\x04")
        chat.wait_for("left after 1")
        assert chat.process.wait(10) == 0


def test_figures_stand_below_an_answer(terminal: Open) -> None:
    with terminal("Hello| wörld") as chat:
        chat.type("howdy\n")
        chat.wait_for("> ", times=2)
    assert re.search(r"Hello wörld\r\n\x1b\[2m2 tokens, [\d.]+/s, first after 0\.\d\d s\x1b\[0m\r\n", chat.seen)


def test_a_line_that_ends_in_a_backslash_goes_on(terminal: Open) -> None:
    with terminal("yes") as chat:
        chat.type("one\\\n")
        chat.wait_for(". ")
        chat.type("two\n")
        chat.wait_for("yes")
        chat.type("/quit\n")
        chat.wait_for("left after")
    assert r"asked ['one\ntwo']" in chat.seen


def test_the_last_question_comes_back_to_be_changed(terminal: Open) -> None:
    with terminal("yes") as chat:
        chat.type("where is marble\n")
        chat.wait_for("> ", times=2)
        chat.type("/edit\n")
        chat.wait_for("where is marble", times=2)
        chat.type(" found?\n")
        chat.wait_for("> ", times=4)
        chat.type("/quit\n")
        chat.wait_for("left after")
    assert "asked ['where is marble found?']" in chat.seen


def test_two_answers_stand_side_by_side_where_there_is_room(terminal: Open) -> None:
    words = "|".join(["The", *(f" quarry{n}" for n in range(20))])
    with terminal(words, columns=101) as chat:
        chat.type("/compare run/1\n")
        chat.wait_for("> ", times=2)
        chat.type("howdy\n")
        chat.wait_for("run/1: ")
    rows = drawn(chat.seen)
    (top,) = [number for number, row in enumerate(rows) if row.split() == ["m", "run/1"]]
    left = [row[:49].rstrip() for row in rows[top + 1 : top + 5]]
    right = [row[52:].rstrip() for row in rows[top + 1 : top + 5]]
    assert left == right
    assert " ".join(left) == words.replace("|", "")
    assert all(len(line) <= 49 for line in left)
    assert rows[top + 5].startswith("m: 21 tokens, ")


@pytest.mark.parametrize(("columns", "rows"), [(40, 24), (99, 24), (120, 5)])
def test_two_answers_stand_one_below_the_other_where_there_is_none(terminal: Open, columns: int, rows: int) -> None:
    words = "|".join(["The", *(f" quarry{n}" for n in range(40))])
    with terminal(words, columns=columns, rows=rows) as chat:
        chat.type("/compare run/1\n")
        chat.wait_for("> ", times=2)
        chat.type("howdy\n")
        chat.wait_for("run/1: ")
    assert "== run/1 ==" in chat.seen
    assert chat.seen.count("quarry39") == 2
    assert not re.search(r"\x1b\[\d+A", chat.seen)
