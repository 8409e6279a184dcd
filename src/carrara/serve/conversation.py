"""A conversation in the terminal, without the terminal: what was said, and the commands beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.serve.engine import ChatRequest, Engine, Piece, with_role

CommandName = Literal["role", "reset", "quit", "help"]

HELP = """/role TEXT  speak to the model in another role from now on; without TEXT, in none
/reset      forget what was said and start anew
/quit       leave
/help       show this"""


@dataclass(frozen=True)
class Command:
    """Something that the user tells the program, not the model."""

    name: CommandName
    argument: str


def parse_command(line: str) -> Command | None:
    """The command in a line, None if it is for the model; raises Refusal for a command that isn't known."""
    if not line.startswith("/"):
        return None
    word, _, argument = line[1:].partition(" ")
    for name in get_args(CommandName):
        if word == name:
            return Command(name, argument.strip())
    raise Refusal(f"there is no command '/{word}'; /help shows them.")


class Conversation:
    """Keeps the messages and asks the engine; `role` and the settings hold for every question."""

    def __init__(
        self,
        engine: Engine,
        model: str,
        *,
        role: str | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.7,
        seed: int | None = None,
    ) -> None:
        self._engine = engine
        self._model = model
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._seed = seed
        self.role = role
        self.messages: list[Message] = []

    def reset(self) -> None:
        """Forget what was said; the role stays."""
        self.messages.clear()

    def ask(self, text: str, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """The pieces of the answer. A broken-off answer is kept as far as it came; a refused question is forgotten."""
        asked = [*self.messages, Message("user", text)]
        request = ChatRequest(
            model=self._model,
            messages=with_role(asked, self.role),
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            seed=self._seed,
        )
        answer = ""
        try:
            for piece in self._engine.answer(request, cancelled):
                answer += piece.text
                yield piece
        finally:
            if answer:
                self.messages = [*asked, Message("assistant", answer)]
