"""A conversation in the terminal, without the terminal: what was said, and the commands beside it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.serve.engine import ChatRequest, Engine, Piece, next_seed, with_role
from carrara.workspace import user_path, write_atomically

CommandName = Literal["regenerate", "edit", "undo", "role", "compare", "save", "reset", "quit", "help"]

# No line is wider than 40 columns.
HELP = """/regenerate    another answer
/edit [TEXT]   ask the last one anew
/undo          take the last one back
/role [ROLE]   speak in a role, or none
/compare [MODEL]  beside MODEL or the
               base; again: alone
/save FILE     write a .jsonl or .md
/reset         forget all, begin anew
/quit          leave
/help          show this
A line that ends in \\ goes on."""


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
        self.engine = engine
        self.model = model
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._seed = seed
        self._again = 0
        self.role = role
        self.messages: list[Message] = []  # replaced, never changed
        self.id = _new_id()

    @property
    def script(self) -> tuple[Message, ...]:
        """All that was said, the role in front."""
        return with_role(self.messages, self.role)

    @property
    def last_question(self) -> str:
        """What was asked last; raises Refusal if nothing was."""
        return self._without_last()[1]

    def _without_last(self) -> tuple[list[Message], str]:
        if not self.messages:
            raise Refusal("nothing was asked yet.")
        return self.messages[:-2], self.messages[-2].content

    def beside(self, model: str) -> Conversation:
        """The same conversation with another model of the engine, which goes its own way from here."""
        other = Conversation(
            self.engine,
            model,
            role=self.role,
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            seed=self._seed,
        )
        other.messages = list(self.messages)
        return other

    def reset(self) -> None:
        """Forget what was said and begin another conversation; the role stays."""
        self.messages = []
        self.id = _new_id()

    def undo(self) -> None:
        """Take the last question and its answer back; raises Refusal if nothing was asked."""
        self.messages, _ = self._without_last()

    def ask(self, text: str, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """The pieces of the answer. A broken-off answer is kept as far as it came; a refused question is forgotten."""
        return self._answer(self.messages, text, 0, cancelled)

    def regenerate(self, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """Another answer to the last question, under the next seed; the one before stays until the first piece."""
        if self._temperature == 0:
            raise Refusal("at temperature 0 the answer would be the same; start with a higher --temperature.")
        return self._answer(*self._without_last(), self._again + 1, cancelled)

    def edit(self, text: str, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """The answer to `text` in the place of the last question; the last one stays until the first piece."""
        return self._answer(self._without_last()[0], text, 0, cancelled)

    def _answer(
        self, before: Sequence[Message], text: str, again: int, cancelled: Callable[[], bool]
    ) -> Iterator[Piece]:
        asked = [*before, Message("user", text)]
        request = ChatRequest(
            model=self.model,
            messages=with_role(asked, self.role),
            max_tokens=self._max_tokens,
            temperature=self._temperature,
            seed=None if self._seed is None else next_seed(self._seed, again),
        )
        if any(_is_broken(message.content) for message in request.messages):
            raise Refusal("the question or the role is no UTF-8 text; set the terminal to UTF-8.")
        return self._listen(self.engine.answer(request, cancelled), asked, again)

    def _listen(self, pieces: Iterator[Piece], asked: list[Message], again: int) -> Iterator[Piece]:
        answer, ended = "", False
        try:
            for piece in pieces:
                answer += piece.text
                ended = piece.finish_reason is not None
                yield piece
        finally:
            if answer or ended:
                self.messages = [*asked, Message("assistant", answer)]
                self._again = again


def save(path_text: str, conversations: Sequence[Conversation]) -> Path:
    """Write conversations, each with its model, to a new file: rows for `carrara prepare` (.jsonl), or a page (.md).

    Raises Refusal for another ending, a file that is there already, or a place that cannot be written.
    """
    path = user_path(path_text)
    if path.suffix not in (".jsonl", ".md"):
        raise Refusal("name a file that ends in .jsonl (rows for `carrara prepare`) or .md (a page to read).")
    if not any(conversation.messages for conversation in conversations):
        raise Refusal("nothing was said yet, so there is nothing to save.")
    content = "".join(map(_row if path.suffix == ".jsonl" else _page, conversations))
    try:
        if path.exists():
            raise Refusal(f"{path} is there already; name another file.")
        write_atomically(path, content)
    except (OSError, ValueError) as error:
        raise Refusal(f"{path} cannot be written ({error}); name another file.") from error
    return path


def _row(conversation: Conversation) -> str:
    messages = [message.to_json() for message in conversation.script]
    return json.dumps({"model": conversation.model, "messages": messages}, ensure_ascii=False) + "\n"


def _page(conversation: Conversation) -> str:
    said = (f"## {message.role}\n\n{message.content}\n\n" for message in conversation.script)
    return f"# {conversation.model}\n\n{''.join(said)}"


def _new_id() -> str:
    return secrets.token_hex(6)


def _is_broken(text: str) -> bool:
    """Whether a text holds bytes that are no UTF-8, as a terminal or a command line may hand them over."""
    return any("\ud800" <= character <= "\udfff" for character in text)
