"""Answers on the screen: as they come, one below the other or two side by side, and nothing that could steer it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrara.wording import line

if TYPE_CHECKING:
    from carrara.serve.engine import Piece

WIDE = 100  # columns from which two answers stand side by side
_GAP = 3


@dataclass(frozen=True)
class Spoken:
    """An answer as it was heard: its text, its last piece, and seconds to the first text and to the end."""

    model: str
    text: str
    last: Piece | None
    first: float | None
    seconds: float

    @property
    def figures(self) -> str:
        """Tokens, tokens a second after the first, and the time to the first, in at most 40 columns."""
        tokens = self.last.completion_tokens if self.last else None
        if tokens is None or self.first is None:
            return f"{'stopped' if tokens is None else 'nothing said'} after {self.seconds:.1f} s"
        pace = f", {(tokens - 1) / (self.seconds - self.first):.1f}/s" if tokens > 1 else ""
        return f"{tokens} tokens{pace}, first after {self.first:.2f} s"


def listen(model: str, pieces: Iterator[Piece], write: Callable[[str], None]) -> Spoken:
    """Hand on the text of an answer piece by piece."""
    start, first, last, text = time.monotonic(), None, None, ""
    for piece in pieces:
        if piece.text and first is None:
            first = time.monotonic() - start
        last, text = piece, text + piece.text
        write(printable(piece.text))
    return Spoken(model, text, last, first, time.monotonic() - start)


def printable(text: str) -> str:
    """The text without control characters, with which a model could steer the terminal."""
    return "".join(char for char in text if char in "\n\t" or not (ord(char) < 32 or 127 <= ord(char) < 160))


def listen_silently(answers: Sequence[tuple[str, Iterator[Piece]]]) -> list[Spoken]:
    """Hear the answers of models without showing them."""
    return [listen(model, pieces, lambda text: None) for model, pieces in answers]


def show(answers: Sequence[tuple[str, Iterator[Piece]]]) -> list[Spoken]:
    """Print the answers of one or two models on stdout, in two columns where it is a terminal that has room.

    Stderr is told what was cut, and at a terminal how fast each answer came.
    """
    spoken = _show(answers)
    for each in spoken:
        name = f"{line(each.model)}: " if len(spoken) > 1 else ""
        if each.last is not None and each.last.finish_reason == "length":
            print(f"{name}(cut after {each.last.completion_tokens} tokens; --max-tokens allows more)", file=sys.stderr)
        if sys.stderr.isatty():
            print(f"\x1b[2m{name}{each.figures}\x1b[0m", file=sys.stderr)
    return spoken


class Column:
    """Breaks a text that comes in pieces into lines of at most `width` cells, between words where it can.

    `feed` and `end` return what is to be written now; `turn` stands where a line ends.
    """

    def __init__(self, width: int, turn: str) -> None:
        self._width, self._turn = width, turn
        self._used, self._spaces, self._word = 0, 0, ""
        self.turns = 0

    def feed(self, text: str) -> str:
        """What can be written once `text` has come: all but a word that may go on."""
        written = ""
        for char in text:
            if char in " \t\n":
                written += self._end_word()
                self._spaces += char != "\n"
                written += self._new_line() if char == "\n" else ""
            elif _cells(self._word + char) > self._width:
                written += self._end_word()
                self._word = char
            else:
                self._word += char
        return written

    def end(self) -> str:
        """The word that was held back."""
        return self._end_word()

    def _end_word(self) -> str:
        if not self._word:
            return ""
        cells, written = _cells(self._word), ""
        if self._used + self._spaces + cells > self._width:
            written = self._new_line() if self._used else ""
            self._spaces = 0
        written += " " * self._spaces + self._word
        self._used += self._spaces + cells
        self._spaces, self._word = 0, ""
        return written

    def _new_line(self) -> str:
        self._used = self._spaces = 0
        self.turns += 1
        return self._turn


def _show(answers: Sequence[tuple[str, Iterator[Piece]]]) -> list[Spoken]:
    if len(answers) == 1:
        spoken = listen(*answers[0], _put)
        _put("\n")
        return [spoken]
    columns, rows = shutil.get_terminal_size()
    if _is_screen() and columns >= WIDE:
        return _side_by_side(answers, columns, rows)
    return [_below(model, pieces) for model, pieces in answers]


def _side_by_side(answers: Sequence[tuple[str, Iterator[Piece]]], columns: int, rows: int) -> list[Spoken]:
    """The first answer on the left as it comes, then the second beside it: the cursor goes up once, nothing is drawn
    twice. An answer too long to go up beside has the second one below it.
    """
    (left, left_pieces), (right, right_pieces) = answers
    width = (columns - _GAP) // 2
    place = f"\x1b[{width + _GAP + 1}G"  # the column, counted from 1
    _put(f"\x1b[1m{line(left, width)}{place}{line(right, width)}\x1b[0m\n")
    first, turns = _in_column(left, left_pieces, Column(width, "\n"))
    if turns + 2 >= rows:
        _put("\n")
        return [first, _below(right, right_pieces)]
    _put((f"\x1b[{turns}A" if turns else "") + place)
    second, more = _in_column(right, right_pieces, Column(width, f"\n{place}"))
    _put("\n" * (max(turns - more, 0) + 1))
    return [first, second]


def _in_column(model: str, pieces: Iterator[Piece], column: Column) -> tuple[Spoken, int]:
    spoken = listen(model, pieces, lambda text: _put(column.feed(text)))
    _put(column.end())
    return spoken, column.turns


def _below(model: str, pieces: Iterator[Piece]) -> Spoken:
    _put(f"== {line(model)} ==\n")
    spoken = listen(model, pieces, _put)
    _put("\n")
    return spoken


def _put(text: str) -> None:
    print(text, end="", flush=True)


def _is_screen() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)
