"""The report holds everything, loads nothing, runs nothing and believes no text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carrara.evaluate.scores import Record, Scores
from carrara.verdict.changes import MOST_ITEMS
from carrara.verdict.compare import compare
from carrara.verdict.report import MOST_LABELS, write_report
from tests.pages.page import Page, loads_and_runs_nothing

from .invented import flips, scores, texts

CURVE = [{"step": step, "loss": 3 / (1 + step / 20), "validation_loss": None} for step in range(1, 60)]
DETAILS: dict[str, dict[str, Any]] = {"Cost": {"energy (kWh)": 0.12, "price": "0.04 EUR"}, "Recipe": {"rank": 16}}


def _tables() -> tuple[Scores, Scores]:
    generator = np.random.default_rng(0)
    arc, mc1 = flips("arc_easy", 300, MOST_ITEMS + 10, 10), flips("truthfulqa_mc1", 300, 3, 9)
    levels = generator.uniform(10, 40, 80)
    base = scores(arc[0], _own_choices(mc1[0]), texts("heldout", levels))
    return base, scores(arc[1], _own_choices(mc1[1]), texts("heldout", levels * generator.normal(0.95, 0.03, 80)))


def _own_choices(records: list[Record]) -> list[Record]:
    """Choices that no other item has, and categories of twelve items but for two: ten stones, and a quarry of two."""
    return [
        replace(
            record,
            choices=[f"{choice} {record.item}" for choice in record.choices],
            category=f"quarry {record.item // 12}" if record.item < 290 else "rare stones",
        )
        for record in records
    ]


def _write(
    path: Path,
    base: Scores,
    tuned: Scores,
    curve: list[dict[str, Any]] = CURVE,
    details: Mapping[str, Mapping[str, Any]] = DETAILS,
) -> str:
    write_report(path, compare(base, tuned), base, tuned, curve, details)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def html(tmp_path: Path) -> str:
    return _write(tmp_path / "report.html", *_tables())


@pytest.fixture
def page(html: str) -> Page:
    return Page(html)


def _classes(page: Page, tag: str) -> list[set[str]]:
    return [set((attributes.get("class") or "").split()) for attributes in page.all(tag)]


def test_says_the_verdict_in_a_sentence(page: Page) -> None:
    assert "The tuned model is better on arc_easy and heldout; on truthfulqa_mc1 these items cannot tell." in page.text
    assert "Base model: stone . Tuned model: stone ." in page.text


def test_shows_every_row_and_number(page: Page) -> None:
    for shown in ("53.3 % 70.0 % +16.67", "60 / 10", "< 0.001", "bits_per_byte", "Detectable", "Adjusted p"):
        assert shown in page.text
    assert [row["scope"] for row in page.all("th") if "scope" not in row] == []


def test_draws_the_differences_once_for_wide_and_once_for_narrow_screens(page: Page) -> None:
    kinds = [kind for kind in _classes(page, "svg") if "forest" in kind]
    assert kinds == [{"forest", "wide"}, {"forest", "narrow"}] * 3  # points, nats, bits
    assert "arc_easy acc +16.67 (" in page.text


def test_links_lead_to_sections(page: Page) -> None:
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [str(link["href"]).removeprefix("#") for link in page.all("a")]
    assert links
    assert set(links) <= places


def test_changed_items_are_counted_and_cut(page: Page) -> None:
    assert f"arc_easy 10 got worse, 60 got better ({MOST_ITEMS} listed)" in page.text
    assert "truthfulqa_mc1 9 got worse, 3 got better" in page.text
    items = [kind for kind in _classes(page, "details") if "item" in kind]
    assert sum({"of-1", "won"} <= kind for kind in items) == MOST_ITEMS
    assert sum({"of-1", "lost"} <= kind for kind in items) == 10
    assert sum({"of-2", "lost"} <= kind for kind in items) == 9
    sides = ["lost" in kind for kind in items]
    assert sides == sorted(sides, reverse=True)  # regressions first


def test_changed_items_show_both_answers(page: Page) -> None:
    assert "before: chalk after: marble" in page.text
    assert "Question 0: which stone is quarried at Carrara?" in page.text
    assert "marble right answer 23.7 %" in page.text


def test_radio_buttons_filter_without_a_script(html: str) -> None:
    page = loads_and_runs_nothing(html)
    radios = [(radio["name"], radio["id"], "checked" in radio) for radio in page.all("input")]
    assert radios == [
        ("side", "only-both", True), ("side", "only-lost", False), ("side", "only-won", False),
        ("task", "task-0", True), ("task", "task-1", False), ("task", "task-2", False), ("task", "task-3", False),
    ]  # fmt: skip
    rules = re.findall(r"\.changes:has\(#([\w-]+):checked\) \.(?:of:not\(\.(of-\d)\)|item\.(won|lost))", html)
    assert rules == [
        ("task-1", "of-1", ""), ("task-2", "of-2", ""), ("task-3", "of-3", ""),
        ("only-lost", "", "won"), ("only-won", "", "lost"),
    ]  # fmt: skip


def test_texts_are_whole_and_long_ones_fold(tmp_path: Path) -> None:
    long = "a seam of marble " * 200
    base, tuned = _tables()
    sides = [
        Scores([replace(r, question=long + "?", choices=[long, *r.choices[1:]]) for r in side.of("arc_easy")], {})
        for side in (base, tuned)
    ]
    page = Page(_write(tmp_path / "report.html", sides[0], sides[1]))
    assert f"{long}?" in page.text
    assert page.text.count(long.strip()) == 2 * (MOST_ITEMS + 10)  # question and answer of each item that is listed
    assert sum("fold" in kind for kind in _classes(page, "details")) == MOST_ITEMS + 10
    assert "(3,400 characters)" in page.text


def test_categories_are_in_a_table_with_those_of_few_items_last(page: Page) -> None:
    assert "truthfulqa_mc1 acc; 26 categories, 25 with 10 items or more" in page.text
    assert "Difference quarry 0 12 75.0 % 25.0 % −50.00" in page.text  # the largest loss comes first
    assert "quarry 24 2 0.0 % 0.0 % +0.00 too few to judge Confusions" in page.text


def test_confusions_stand_side_by_side_for_tasks_with_labels(page: Page) -> None:
    assert sum("matrix" in kind for kind in _classes(page, "table")) == 2
    assert "Before: the true label down" in page.text
    assert "marble 140 47 % 160 53 % 0 0 % 0 0 %" in page.text
    assert "marble 90 30 % 210 70 % 0 0 % 0 0 %" in page.text


def test_many_labels_are_no_table(tmp_path: Path) -> None:
    labels = [f"label {number}" for number in range(MOST_LABELS + 1)]
    base, tuned = (
        Scores([replace(r, choices=labels, loglikelihoods=[-1.0] * len(labels)) for r in side.of("arc_easy")], {})
        for side in _tables()
    )
    page = Page(_write(tmp_path / "report.html", base, tuned))
    assert f"arc_easy has {MOST_LABELS + 1} labels, too many for a table" in page.text
    assert not any("matrix" in kind for kind in _classes(page, "table"))


def test_calibration_is_drawn_for_tasks_with_choices(page: Page) -> None:
    labels = [str(svg.get("aria-label")) for svg in page.all("svg")]
    assert sum(label.startswith("Reliability of") for label in labels) == 2
    assert "300 items in 15 dots of 20." in page.text


def test_shows_details_and_curve(page: Page) -> None:
    for shown in ("Cost", "energy (kWh) 0.12", "price 0.04 EUR", "rank 16", "Loss in nats per token"):
        assert shown in page.text
    assert any("Loss over 59 steps" in str(svg.get("aria-label")) for svg in page.all("svg"))
    assert all(svg.get("role") == "img" or svg.get("aria-hidden") == "true" for svg in page.all("svg"))


def test_hostile_texts_are_shown_as_texts(tmp_path: Path) -> None:
    attack = "</table><script>alert(1)</script><img src=x onerror=alert(2)>\"'"
    sides = [
        Scores(
            [replace(r, question=attack, choices=[attack] * 4, category=attack) for r in side.of("arc_easy")],
            {"model_name": attack, "dtype": attack},
        )
        for side in _tables()
    ]
    html = _write(tmp_path / "report.html", sides[0], sides[1], details={attack: {attack: [attack]}})
    page = loads_and_runs_nothing(html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert attack in page.text


def test_half_a_character_and_control_characters_do_not_stop_the_report(tmp_path: Path) -> None:
    base, tuned = (
        Scores([replace(record, question="half \ud83d bell \x07") for record in side.of("arc_easy")], {})
        for side in _tables()
    )
    assert "half ? bell \N{SYMBOL FOR BELL}" in _write(tmp_path / "report.html", base, tuned)


def test_items_without_choices_show_their_scores(tmp_path: Path) -> None:
    base = scores(texts("heldout", [20.0, 30.0]))
    html = _write(tmp_path / "report.html", base, scores(texts("heldout", [10.0, 35.0])))
    assert "loss 2.000 → 1.000" in html
    assert "loss 3.000 → 3.500" in html
    values = [replace(record, gold=0) for record in texts("truthfulqa_mc2", [0.5, 0.25])]
    after = [replace(values[0], value=0.75), values[1]]
    assert "mc2 50.0 % → 75.0 %" in _write(tmp_path / "report.html", scores(values), scores(after))


def test_no_change_no_categories_no_confusion_leave_their_sections_out(tmp_path: Path) -> None:
    same = scores(texts("heldout", [20.0, 30.0]))
    page = loads_and_runs_nothing(_write(tmp_path / "report.html", same, same, details={}))
    assert "heldout none got worse, none got better" in page.text
    headings = {attributes.get("id") for attributes in page.all("h2")}
    assert headings == {"differences", "verdicts", "items", "training"}


def test_nothing_to_show_is_still_a_report(tmp_path: Path) -> None:
    nothing = scores(texts("poems", [1.0, 2.0]))
    page = loads_and_runs_nothing(_write(tmp_path / "report.html", nothing, nothing, curve=[], details={}))
    assert "Nothing could be compared." in page.text
    assert "No training curve was given." in page.text


def test_same_input_same_bytes(tmp_path: Path) -> None:
    assert _write(tmp_path / "a.html", *_tables()) == _write(tmp_path / "b.html", *_tables())
