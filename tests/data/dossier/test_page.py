"""The page holds everything, loads nothing, runs nothing, believes no text, and says what was not measured."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.data.dossier import DOSSIER_JSON, Dossier, write_dossier
from carrara.data.dossier.plots import histogram
from tests.pages.page import Page, loads_and_runs_nothing

from .invented import clean, full, hit

ATTACK = "</table></style><script>alert(1)</script><img src=x onerror=\"alert('2')\">"
TURNED = "\u202eturned\u2066 \u05d0\u05d1 100"


def written(folder: Path, dossier: Dossier) -> Page:
    return Page(write_dossier(folder, dossier).read_text(encoding="utf-8"))


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return written(tmp_path, full())


def test_answers_at_a_glance(page: Page) -> None:
    start = page.text[page.text.index("fit once decided") :]
    assert start.startswith("fit once decided This data is fit to train on once 8 things are decided.")
    for shown in ("rows read 100", "kept 81", "in quarantine 19", "to train on 70", "What needs a decision"):
        assert shown in page.text
    decisions = page.text[page.text.index("What needs a decision") : page.text.index("Worth knowing")]
    assert decisions.count("decide ") == 5


def test_the_sum_adds_up(tmp_path: Path) -> None:
    shown = (
        "kept 81 81 % in quarantine: could not be used + 9 9.0 % in quarantine: exact copies of another row + 7 7.0 % "
    )
    shown += "in quarantine: near-copies of another row + 3 3.0 % rows read = 100 the sum adds up"
    assert shown in written(tmp_path, full()).text
    lost = full()
    lost["rows"]["kept"] = 80
    assert "rows read = 100 the sum is off by 1" in written(tmp_path, lost).text


@pytest.mark.parametrize(
    "shown",
    [
        "pairs.jsonl 100 JSON lines UTF-8 prompt and completion prompt from question",
        "completion is empty 9 pairs.jsonl , row 12",
        "train 70 86.4 %",
        "There are 5 groups",
        "good 60 4 0 97 %",
        "Case and white space do not count.",
        "pairs.jsonl , row 2, likeness 0.85 one slab of marble",
        "Is marble hard? pairs.jsonl , row 3 Yes, it is.",
        "email 3 2 99.1 98.2",
        "e-mail addresses by their form",
        "row 5, prompt email to <EMAIL> by",
        "arc_challenge yes 1,172 1 1 folder sha256 abababababababab…",
        "truthfulqa no , because it is not at hand",
        "arc_challenge , item Mercury_1 word for word; the row is in train and was kept",
        "en 80 98.8 %",
        "6 answers of 20 words or more (12 % of these)",
        "2,000 of them learned 62 %",
        "cannot be rendered 1",
        "two users in turn 1 pairs.jsonl , row 12",
        "1 row is too long for the model and loses the beginning of the context",
        "94 % of the positions computed hold tokens",
        "time 25 min between 20 min – 35 min memory 2.5 GB energy 9.87 Wh money under 0.01 EUR",
        "in train: 4 of 9 tokens are learned <|user|> Hard? Yes, it is.",
        "carrara prepare pairs.jsonl --map prompt=question --seed 3 --against 'arc_challenge,x y'",
        "cd" * 32,
    ],
)
def test_shows(page: Page, shown: str) -> None:
    assert shown in page.text


def test_says_what_was_not_measured(tmp_path: Path) -> None:
    page = written(tmp_path, clean())
    assert "This data is fit to train on." in page.text
    assert "What needs a decision" not in page.text
    for shown in (
        "Every row could be used.",
        "The rows have no labels.",
        "None was found.",
        "No benchmark was named, so nothing is known",
        "Tokens were not counted, because no model was named",
        "was not estimated",
        "No rows were asked for.",
        "No answer of 20 words or more ends without a closing mark.",
    ):
        assert shown in page.text


def test_is_for_everyone(page: Page) -> None:
    assert [row for row in page.all("th") if "scope" not in row] == []
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(each.get("tabindex") == "0" and each.get("aria-label") for each in page.all("div") if "role" in each)
    assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in page.all("svg"))
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    anchors = {attributes.get("id") for _, attributes in page.tags}
    assert all(str(link["href"])[1:] in anchors for link in page.all("a"))


def test_tells_learned_from_context_without_colour(tmp_path: Path) -> None:
    html = write_dossier(tmp_path, full()).read_text(encoding="utf-8")
    assert '<span class="learned">Yes, it is.</span>' in html
    assert '<span class="special">&lt;|user|&gt;</span>' in html
    rule = html[html.index("\n.learned {") : html.index("\n.special {")]
    assert "font-weight: 600" in rule
    assert "text-decoration: underline" in rule


def _hostile(text: str) -> Dossier:
    """The text wherever a text from outside can stand."""
    dossier = full()
    dossier["dataset"]["name"] = text
    dossier["dataset"]["sources"][0].update(file=text, shape=text, mapping={text: text})
    dossier["dataset"]["options"] = {"group": text, "map": {text: text}}
    dossier["labels"] = {text: {"train": 1}}
    dossier["quarantine"][0].update(reason=text, field=text, file=text)
    dossier["duplicates"]["clusters"][0]["rows"][0].update(text=text, file=text)
    dossier["duplicates"]["conflicts"][0].update(prompt=text)
    dossier["duplicates"]["conflicts"][0]["answers"][1].update(text=text)
    dossier["personal_data"]["examples"][0].update(text=text, field=text, file=text)
    dossier["contamination"]["hits"] = [hit(text=text) | {"question": text, "benchmark": text}]  # pyright: ignore
    dossier["languages"] = {text: 81}
    assert dossier["tokens"] is not None
    dossier["tokens"]["set_aside"]["reasons"][0].update(reason=text)
    dossier["shown"][0].update(spans=[["learned", text], ["context", text], [text, text]])
    return dossier


@pytest.mark.parametrize("text", [ATTACK, TURNED, "word " * 20_000, "x" * 100_000, "half \ud83d", "", "\x00\x1b[2J"])
def test_hostile_texts_are_shown_as_texts(tmp_path: Path, text: str) -> None:
    html = write_dossier(tmp_path, _hostile(text)).read_text(encoding="utf-8")
    page = loads_and_runs_nothing(html)
    assert len(html) < 120_000
    if text == ATTACK:
        assert ATTACK in page.text
    assert json.loads((tmp_path / DOSSIER_JSON).read_text(encoding="utf-8"))["rows"]["read"] == 100


@settings(max_examples=15, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_shown_as_text(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("dossier")
    loads_and_runs_nothing(write_dossier(folder, _hostile(text)).read_text(encoding="utf-8"))


def test_shows_200_hits_and_says_how_many_more(tmp_path: Path) -> None:
    dossier = full()
    dossier["contamination"].update({"total": 230, "hits": [hit(row) for row in range(1, 231)]})
    page = written(tmp_path, dossier)
    assert "30 more are in contamination.jsonl" in page.text
    assert page.text.count("word for word") == 200
    assert len(json.loads((tmp_path / DOSSIER_JSON).read_text())["contamination"]["hits"]) == 230


def test_printed_it_shows_no_links_and_all_rows(tmp_path: Path) -> None:
    html = write_dossier(tmp_path, full()).read_text(encoding="utf-8")
    printed = html[html.rindex("@media print") :]
    assert "nav, .remarks a { display: none; }" in printed
    assert "details::details-content { content-visibility: visible;" in printed
    assert html.index(".remarks a { font-size") < html.rindex("@media print")  # the later rule counts


def test_marks_what_question_and_row_share(tmp_path: Path) -> None:
    html = write_dossier(tmp_path, full()).read_text(encoding="utf-8")
    assert '<p class="text" dir="auto"><mark>Which stone is white?</mark></p>' in html
    assert '<p class="text" dir="auto"><mark>Which stone is white,</mark> marble?</p>' in html


def test_same_dossier_same_bytes(tmp_path: Path) -> None:
    first = [write_dossier(tmp_path, full()).read_bytes(), (tmp_path / DOSSIER_JSON).read_bytes()]
    assert [write_dossier(tmp_path, full()).read_bytes(), (tmp_path / DOSSIER_JSON).read_bytes()] == first


def test_histogram_scales_to_round_numbers() -> None:
    svg = histogram(full()["words"], "word")
    assert 'aria-label="Words in a row: median 18, 95 % up to 30, longest 31"' in svg
    assert svg.count("<rect") == 2
    assert ">80</text>" in svg
    assert ">40</text>" in svg
    assert histogram(clean()["words"], "word") == ""
