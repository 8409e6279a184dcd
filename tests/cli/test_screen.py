"""Answers on the screen: nothing steers the terminal, and columns break any text without losing any of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from carrara.cli.screen import Column, Spoken, _side_by_side, printable
from carrara.serve.engine import Piece
from tests.cli.terminal import drawn

TEXTS = st.text(st.sampled_from("ab c\t\n石🙂é.")) | st.text()


def broken(pieces: list[str], width: int) -> list[str]:
    column = Column(width, "\n")
    lines = ("".join(column.feed(piece) for piece in pieces) + column.end()).split("\n")
    assert column.turns == len(lines) - 1
    return lines


def test_control_characters_stay_out_of_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\x9b c\n\td\x7f") == "a[2Jb c\n\td"


def test_lines_break_between_words_and_long_words_inside() -> None:
    assert broken(["the quar", "ry of", " Carrara"], 10) == ["the quarry", "of Carrara"]
    assert broken(["abcdefghijklm no"], 5) == ["abcde", "fghij", "klm", "no"]
    assert broken(["  two\n\n  石石石石"], 6) == ["  two", "", "石石石", "石"]
    assert broken(["a\tb"], 9) == ["a b"]


@given(st.lists(TEXTS, max_size=6), st.integers(2, 30))
def test_no_line_is_too_wide_and_nothing_is_lost(pieces: list[str], width: int) -> None:
    pieces = [printable(piece) for piece in pieces]
    lines = broken(pieces, width)
    assert max(map(cell_len, lines)) <= width
    said = "".join(pieces).translate({ord(each): None for each in " \t\n"})
    assert "".join(lines).replace(" ", "") == said
    assert lines == broken(["".join(pieces)], width)
    assert lines == broken(list("".join(pieces)), width)


@pytest.mark.parametrize(("left", "right"), [(90, 5), (5, 90), (40, 40), (0, 3), (3, 0)])
def test_what_comes_next_stands_below_the_longer_answer(
    left: int, right: int, capsys: pytest.CaptureFixture[str]
) -> None:
    spoken = _side_by_side([("one", _pieces("left", left)), ("two", _pieces("right", right))], 103, 24)
    print("next")
    rows = drawn(capsys.readouterr().out.replace("\n", "\r\n"))
    while not rows[-1]:
        rows.pop()
    assert rows[0].split() == ["one", "two"]
    assert rows[-1] == "next"
    assert " ".join(" ".join(row[:50] for row in rows[1:-1]).split()) == " ".join(["left"] * left)
    assert " ".join(" ".join(row[53:] for row in rows[1:-1]).split()) == " ".join(["right"] * right)
    assert rows[-2].strip()  # and no empty row between
    assert [each.text.split() for each in spoken] == [["left"] * left, ["right"] * right]


def _pieces(word: str, count: int) -> Iterator[Piece]:
    for _ in range(count):
        yield Piece(f"{word} ")
    yield Piece("", "stop", 1, count)


def test_figures_fit_a_narrow_window() -> None:
    def figures(tokens: int | None, first: float | None, seconds: float) -> str:
        return Spoken("m", "", Piece("", "stop", 1, tokens), first, seconds).figures

    assert figures(34, 0.314, 2.0) == "34 tokens, 19.6/s, first after 0.31 s"
    assert figures(1, 0.3, 0.3) == "1 tokens, first after 0.30 s"
    assert figures(None, 0.3, 1.25) == "stopped after 1.2 s"
    assert figures(0, None, 0.5) == "nothing said after 0.5 s"
    assert len(figures(1024, 12.34, 99.9)) <= 40
