"""The chat in the terminal: what is remembered, the commands, and the command line around them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from carrara.cli.chat import _printable, chat_command
from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.models import Model
from carrara.serve.conversation import Command, Conversation, parse_command
from carrara.serve.engine import ContextExceeded

from .scripted import Scripted


def say(conversation: Conversation, text: str) -> str:
    return "".join(piece.text for piece in conversation.ask(text, lambda: False))


def test_commands_are_told_from_words_to_the_model() -> None:
    assert parse_command("hello /role") is None
    assert parse_command("/role  a poet ") == Command("role", "a poet")
    assert parse_command("/reset") == Command("reset", "")
    with pytest.raises(Refusal, match="no command '/rol'; /help"):
        parse_command("/rol x")


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


def test_an_answer_broken_off_is_kept_as_far_as_it_came() -> None:
    engine = Scripted()
    engine.gate.clear()
    stopped: list[bool] = []
    conversation = Conversation(engine, "m")
    for _ in conversation.ask("one", lambda: bool(stopped)):
        stopped.append(True)
    assert conversation.messages == [Message("user", "one"), Message("assistant", "Hello")]


def test_control_characters_stay_out_of_the_terminal() -> None:
    assert _printable("a\x1b[2Jb\x07\x9b c\n\td\x7f") == "a[2Jb c\n\td"


def run_chat(model: Model, workspace: Path, *options: str, typed: str = "") -> tuple[str, str]:
    app = typer.Typer()
    app.command()(chat_command)
    arguments = [str(model.path), "--workspace", str(workspace), "--temperature", "0", "--max-tokens", "6", *options]
    result = CliRunner().invoke(app, arguments, input=typed, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout, result.stderr


def test_one_question_from_a_script(tiny_models: dict[str, Model], tmp_path: Path) -> None:
    plain, _ = run_chat(tiny_models["base"], tmp_path, "--once", "hello")
    printed, _ = run_chat(tiny_models["base"], tmp_path, "--once", "hello", "--json")
    answer = json.loads(printed)
    assert plain == _printable(answer["answer"]) + "\n"
    assert (answer["finish_reason"], answer["prompt_tokens"], answer["completion_tokens"]) == ("length", 11, 6)


def test_lines_from_a_pipe(tiny_models: dict[str, Model], tmp_path: Path) -> None:
    typed = "/help\n\nhello\n/nonsense\n/reset\nhello\n/quit\nnever asked\n"
    out, err = run_chat(tiny_models["base"], tmp_path, typed=typed)
    once, _ = run_chat(tiny_models["base"], tmp_path, "--once", "hello")
    assert out == once * 2
    assert "/role TEXT" in err
    assert "no command '/nonsense'" in err


def test_json_is_for_a_single_question(tiny_models: dict[str, Model], tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="--json needs --once"):
        run_chat(tiny_models["base"], tmp_path, "--json")


def test_help_needs_no_heavy_library() -> None:
    code = (
        "import sys, carrara.cli.serve, carrara.cli.chat\n"
        "print([name for name in ('torch', 'transformers', 'fastapi', 'uvicorn', 'pydantic') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_ctrl_c_stops_an_answer_and_ctrl_d_leaves(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from serve.scripted import Scripted\n"
        "from carrara.cli.chat import _talk\n"
        "from carrara.serve.conversation import Conversation\n"
        "engine = Scripted(); engine.gate.clear()\n"
        "_talk(Conversation(engine, 'm'))\n"
        "print('left after', engine.gave_up)"
    )
    terminal, inside = os.openpty()
    command = [sys.executable, "-c", code, str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True) as process:
        seen = _read_until(terminal, b"> ")
        os.write(terminal, b"hello\n")
        seen += _read_until(terminal, b"Hello")
        process.send_signal(signal.SIGINT)
        seen += _read_until(terminal, b"> ")
        os.write(terminal, b"\x04")
        assert b"left after 1" in _read_until(terminal, b"left after 1")
        assert process.wait(10) == 0
    os.close(inside)
    os.close(terminal)


def _read_until(terminal: int, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen.replace(b"hello", b""):
        seen += os.read(terminal, 1024)
    return seen
