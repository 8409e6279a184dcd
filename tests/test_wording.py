"""The wording of values for pages and terminals."""

from __future__ import annotations

from typing import Any

import pytest

from carrara.wording import count_of_rows, duration, line, lines, percent, plain, short, visible


@pytest.mark.parametrize(
    ("part", "shown"),
    [(0, "0 %"), (0.0004, "< 0.1 %"), (0.05, "5.0 %"), (0.62, "62 %"), (0.9999, "> 99.9 %"), (1, "100 %")],
)
def test_percent(part: float, shown: str) -> None:
    assert percent(part) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "under 1 s"), (45, "45 s"), (180, "3 min"), (7800, "2 h 10 min"), (10_800, "3 h"), (180_000, "2 d 2 h")],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_line_cannot_steer_a_terminal() -> None:
    assert line("a\x1b[31mred\n\u202eturned\tb") == "a [31mred turned b"
    assert lines("a\x1b[31mred\n\u202eturned\tb\r\n" + "x" * 5000) == "a [31mred\nturned b\n" + "x" * 5000
    assert line("x" * 500, 10) == "xxxxxxxxx…"


def test_a_number_of_rows() -> None:
    assert count_of_rows(1) == "1 row"
    assert count_of_rows(4812) == "4,812 rows"


def test_long_texts_are_cut_and_say_so() -> None:
    assert short("a" * 1200) == "a" * 1200
    assert short("a" * 3200).endswith("a\N{HORIZONTAL ELLIPSIS} (2,000 more characters)")


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (None, "not known"),
        (True, "yes"),
        (12345, "12,345"),
        (-0.00012345678, "\N{MINUS SIGN}0.000123457"),
        ("as-it-is", "as-it-is"),
        ([1, "b"], "1, b"),
        ([], "none"),
        ({"rank": 16, "dropout": 0.0}, "rank: 16; dropout: 0"),
    ],
)
def test_any_value_is_plain_text(content: Any, shown: str) -> None:
    assert plain(content) == shown


def test_control_characters_are_seen_and_steer_nothing() -> None:
    assert visible("a\x1b[31m\tb\n  c\x9b1mé") == "a\N{SYMBOL FOR ESCAPE}[31m\tb\n  c\N{REPLACEMENT CHARACTER}1mé"
