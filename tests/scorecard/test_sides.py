"""Cards side by side, the question they answer, and the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from carrara.scorecard.card import Card
from carrara.scorecard.figure import Figure, unknown
from carrara.scorecard.page import write_page
from carrara.scorecard.question import answers_of
from carrara.scorecard.sides import number, rows_of, shown, sides_of
from tests.scorecard.invented import card, measured

FAST = [
    measured("first token p50", 0.2, 0.01, "s"),
    measured("first token p50 (base)", 0.1, 0.01, "s"),
    measured("first token p50 (change)", 100.0, 10.0, "%", "Tuning raised this by 100 %."),
    measured("persona discrimination", 80.0, 5.0, "%"),
    measured("persona discrimination (base)", 30.0, 5.0, "%"),
    measured("persona discrimination (change)", 50.0, 9.0, "points", "Tuning raised this by 50 points."),
    measured("answer length (change)", 1.0, 9.0, "words", "Whether tuning changed this cannot be told."),
]
TUNED = card("tuned", {"ease_of_use": FAST, "cost": [measured("tokens per second", 30)]}, base="stone")
OTHER = card("other", {"cost": [measured("tokens per second", 20), unknown("money", "no price is given")]})


def test_the_base_stands_before_the_model_and_shares_its_rows() -> None:
    sides = sides_of([TUNED, OTHER])
    assert [(side.name, side.is_base) for side in sides] == [("stone (base)", True), ("tuned", False), ("other", False)]
    rows = {row.measure: row for row in rows_of("ease_of_use", sides)}
    assert [cell.value if cell else None for cell in rows["first token p50"].cells] == [0.1, 0.2, None]
    cost = {row.measure: row for row in rows_of("cost", sides)}
    assert [cell.value if cell else "–" for cell in cost["tokens per second"].cells] == ["–", 30, 20]
    assert cost["money"].cells[1] is None


def test_the_question_is_answered_by_what_was_measured_of_both() -> None:
    answer = answers_of(TUNED)
    assert answer
    assert [row.measure for row in answer.latency] == ["first token p50"]
    assert [row.measure for row in answer.personality] == ["persona discrimination"]
    assert answer.changed == (
        "first token p50: Tuning raised this by 100 %.",
        "persona discrimination: Tuning raised this by 50 points.",
    )
    assert answer.unclear == 1
    assert answers_of(OTHER) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (-1e-6, "0"),
        (2e-5, "2e\N{MINUS SIGN}05"),
        (0.61234, "0.612"),
        (1234.5, "1,234"),
        (-0.5, "\N{MINUS SIGN}0.5"),
        (3.0, "3"),
        ("never", "never"),
    ],
)
def test_numbers_are_written_as_people_read_them(value: float | str | bool, text: str) -> None:
    assert number(value) == text


def test_a_figure_is_shown_with_its_interval() -> None:
    assert shown(measured("x", 0.6)) == "0.6 (0.5 to 0.7)"
    assert shown(unknown("x", "why")) == "unknown"


class _Balance(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def _page(folder: Path, *cards: Card) -> tuple[str, str]:
    path = folder / "cards.html"
    write_page(path, cards, None)
    html = path.read_text(encoding="utf-8")
    balance = _Balance()
    balance.feed(html)
    assert balance.open == []
    return html, " ".join(" ".join(balance.texts).split())


def test_the_page_shows_every_figure_with_its_kind_as_word_and_mark(tmp_path: Path) -> None:
    html, text = _page(tmp_path, TUNED, OTHER)
    assert "Latency and personality" in text
    assert "Tuning raised this by 50 points." in text
    assert text.index("Latency and personality") < text.index("Accuracy ")
    for part in ("80 (75 to 85)", "30 (25 to 35)", "no price is given", "measured", "unknown", "stone (base)"):
        assert part in text
    assert html.count('class="mark before"') == 2  # the base's dots are hollow
    assert html.count('class="interval"') == 3 * (2 + 2 + 3 + 2)  # a line and two ends for each dot


def test_the_dots_stand_in_proportion(tmp_path: Path) -> None:
    figures = [measured("speed", 10.0, 0.0), measured("speed (base)", 0.0, 0.0)]
    html, _ = _page(tmp_path, card("tuned", {"cost": figures}, base="stone"))
    places = [float(found) for found in re.findall(r'<svg x="([\d.]+)%"', html)]
    assert places == [2.0, pytest.approx(2 + 96 / 1.04, abs=0.1)]


def test_the_page_loads_and_runs_nothing(tmp_path: Path) -> None:
    html, _ = _page(tmp_path, TUNED)
    assert "default-src 'none'" in html
    assert not re.search(r"<script|https?://|@import|url\(", html)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>\udc80"
    figure = Figure(bad, bad, None, "published", bad, meaning=bad)
    html, _ = _page(tmp_path, card(bad, {"privacy": [figure]}))
    assert "<script" not in html
