"""The conversation at the terminal: reads lines, obeys commands, shows answers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carrara.cli.screen import show
from carrara.errors import Refusal

if TYPE_CHECKING:
    from carrara.cli.screen import Spoken
    from carrara.serve.conversation import Command, Conversation
    from carrara.serve.engine import Engine, Piece

Cancelled = Callable[[], bool]
Ask = Callable[["Conversation", Cancelled], "Iterator[Piece]"]
Show = Callable[[Sequence[tuple[str, "Iterator[Piece]"]]], "list[Spoken]"]


class Talk:
    """One conversation, or two while models are compared.

    `open_beside` gives an engine with the first conversation's model and the one of a name, or the base for no name,
    and what that is called; `choose_role` the text of a role; `keep` stores a conversation with the tokens of its last
    answer.
    """

    def __init__(
        self,
        conversations: Sequence[Conversation],
        open_beside: Callable[[str], tuple[Engine, str]],
        choose_role: Callable[[str], str],
        keep: Callable[[Conversation, int | None], None],
    ) -> None:
        self._conversations = list(conversations)
        self._open_beside = open_beside
        self._choose_role = choose_role
        self._keep = keep

    def run(self) -> None:
        """Read lines and answer them until the input ends, by /quit, Ctrl-D, or Ctrl-C at the prompt."""
        from carrara.serve.conversation import parse_command

        if sys.stdin.isatty():
            import readline  # noqa: F401  # gives input() line editing and history

            print("Say something; /help shows the commands.", file=sys.stderr)
        while (line := _read()) is not None:
            try:
                command = parse_command(line)
                if command is None:
                    self._ask(line)
                elif command.name == "quit":
                    return
                else:
                    self._obey(command)
            except Refusal as error:
                print(error, file=sys.stderr)

    def answer(self, ask: Ask, show: Show, cancelled: Cancelled) -> list[Spoken]:
        """Show what each conversation is answered. Where two are compared, a turn that only one took is undone."""
        before = [conversation.messages for conversation in self._conversations]
        try:
            spoken = show([(each.model, ask(each, cancelled)) for each in self._conversations])
        finally:
            if any(each.messages is messages for each, messages in zip(self._conversations, before)):
                for each, messages in zip(self._conversations, before):
                    each.messages = messages
        for each, heard in zip(self._conversations, spoken):
            self._keep(each, heard.last.completion_tokens if heard.last else None)
        return spoken

    def close(self) -> None:
        """Let go of the engine."""
        self._conversations[0].engine.close()

    def _ask(self, text: str) -> None:
        self._turn(lambda conversation, cancelled: conversation.ask(text, cancelled))

    def _turn(self, ask: Ask) -> None:
        with _interrupts() as interrupted:
            self.answer(ask, show, interrupted)

    def _obey(self, command: Command) -> None:
        from carrara.serve.conversation import HELP, save

        if command.name == "help":
            print(HELP, file=sys.stderr)
        elif command.name == "regenerate":
            self._turn(lambda conversation, cancelled: conversation.regenerate(cancelled))
        elif command.name == "edit":
            if text := command.argument or _edited(self._conversations[0].last_question):
                self._turn(lambda conversation, cancelled: conversation.edit(text, cancelled))
        elif command.name == "compare":
            self._compare(command.argument)
        elif command.name == "save":
            path = save(command.argument, self._conversations)
            print(f"saved to {path}", file=sys.stderr)
        else:
            role = self._choose_role(command.argument) if command.name == "role" and command.argument else None
            for conversation in self._conversations:
                self._change(conversation, command, role)

    def _compare(self, name: str) -> None:
        """Let another model answer beside the first from now on; with no name the base, or nobody where two answer."""
        own = self._conversations[0]
        if not name and len(self._conversations) == 2:
            self._conversations = [own]
            return
        engine, model = self._open_beside(name)
        own.engine.close()
        own.engine = engine
        self._conversations = [own, own.beside(model)]

    def _change(self, conversation: Conversation, command: Command, role: str | None) -> None:
        if command.name == "role":
            conversation.role = role
        elif command.name == "reset":
            conversation.reset()
        else:
            conversation.undo()
            self._keep(conversation, None)


def _read() -> str | None:
    """What is said next, which is not blank; None when there is no more. At a terminal a line ending in \\ goes on."""
    at_terminal = sys.stdin.isatty()
    said: list[str] = []
    goes_on = False
    while goes_on or not any(said):
        try:
            line = input((". " if goes_on else "> ") if at_terminal else "").strip()
        except UnicodeDecodeError as error:
            raise Refusal("the input is no UTF-8 text; convert it first.") from error
        except EOFError:
            return None
        except KeyboardInterrupt:
            if at_terminal:
                return None
            raise
        goes_on = at_terminal and line.endswith("\\")
        said.append(line[:-1] if goes_on else line)
    return "\n".join(said).strip()


def _edited(text: str) -> str | None:
    """The text as the user changes it at the prompt; None if they leave it be."""
    if not sys.stdin.isatty():
        raise Refusal("write /edit TEXT; only at a terminal can the last question be changed in place.")
    import readline

    def insert() -> None:
        readline.set_startup_hook(None)
        readline.insert_text(text)

    readline.set_startup_hook(insert)
    return _read()


@contextmanager
def _interrupts() -> Iterator[Cancelled]:
    """While an answer is written, Ctrl-C only stops the answer; yields whether it was pressed."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
