"""`carrara chat`: talk to a model in the terminal."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from carrara.cli.console import make_progress, print_json
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.errors import Refusal

if TYPE_CHECKING:
    from carrara.serve.conversation import Conversation
    from carrara.serve.engine import Piece


def chat_command(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="Whom to talk to.")],
    role: Annotated[str | None, typer.Option(help='Who the model is to be, e.g. "a patient teacher".')] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of one answer.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 gives the likeliest answer.")] = 0.7,
    seed: Annotated[int | None, typer.Option(min=-(2**63), max=2**63 - 1, help="Draw the same answer again.")] = None,
    once: Annotated[str | None, typer.Option(metavar="TEXT", help="Ask this, print the answer and leave.")] = None,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Talk to a model or a run; /help shows the commands, Ctrl-C stops an answer."""
    if json and once is None:
        raise Refusal("--json needs --once TEXT; a conversation is printed as it is spoken.")
    from carrara.models import resolve_model
    from carrara.serve.conversation import Conversation
    from carrara.serve.transformers_engine import load_engine
    from carrara.workspace import open_workspace

    resolved = resolve_model(open_workspace(workspace), model, make_progress())
    engine = load_engine({model: resolved})
    conversation = Conversation(engine, model, role=role, max_tokens=max_tokens, temperature=temperature, seed=seed)
    if once is None:
        _talk(conversation)
    elif json:
        _print_json(conversation, model, once)
    else:
        _print_answer(conversation.ask(once, lambda: False))


def _talk(conversation: Conversation) -> None:
    """Read lines and answer them until the input ends, by /quit, Ctrl-D, or Ctrl-C at the prompt."""
    from carrara.serve.conversation import HELP, parse_command

    if sys.stdin.isatty():
        import readline  # noqa: F401  # gives input() line editing and history

        print("Say something; /help shows the commands.", file=sys.stderr)
    while (line := _read_line()) is not None:
        try:
            command = parse_command(line)
            if command is None:
                with _interrupts() as interrupted:
                    _print_answer(conversation.ask(line, interrupted))
            elif command.name == "quit":
                return
            elif command.name == "help":
                print(HELP, file=sys.stderr)
            elif command.name == "reset":
                conversation.reset()
            else:
                conversation.role = command.argument or None
        except Refusal as error:
            print(error, file=sys.stderr)


def _read_line() -> str | None:
    """The next line that isn't blank; None when there is no more."""
    at_terminal = sys.stdin.isatty()
    line = ""
    while not line:
        try:
            line = input("> " if at_terminal else "").strip()
        except UnicodeDecodeError as error:
            raise Refusal("the input is no UTF-8 text; convert it first.") from error
        except EOFError:
            return None
        except KeyboardInterrupt:
            if at_terminal:
                return None
            raise
    return line


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """While an answer is written, Ctrl-C only stops the answer; yields whether it was pressed."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _print_answer(pieces: Iterator[Piece]) -> None:
    last = None
    for piece in pieces:
        last = piece
        print(_printable(piece.text), end="", flush=True)
    print()
    if last is not None and last.finish_reason == "length":
        print(f"(cut after {last.completion_tokens} tokens; --max-tokens allows more)", file=sys.stderr)


def _printable(text: str) -> str:
    """The text without control characters, with which a model could steer the terminal."""
    return "".join(char for char in text if char in "\n\t" or not (ord(char) < 32 or 127 <= ord(char) < 160))


def _print_json(conversation: Conversation, model: str, text: str) -> None:
    start = time.monotonic()
    pieces = list(conversation.ask(text, lambda: False))
    last = pieces[-1]
    answer = {
        "model": model,
        "answer": "".join(piece.text for piece in pieces),
        "finish_reason": last.finish_reason,
        "prompt_tokens": last.prompt_tokens,
        "completion_tokens": last.completion_tokens,
        "seconds": round(time.monotonic() - start, 3),
    }
    print_json(answer)
