"""The report holds everything, loads nothing, runs nothing and believes no text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carrara.evaluate.scores import Scores
from carrara.verdict.compare import compare
from carrara.verdict.report import MOST_ITEMS, write_report
from tests.pages.page import Page, loads_and_runs_nothing

from .invented import flips, scores, texts

CURVE = [{"step": step, "loss": 3 / (1 + step / 20), "validation_loss": None} for step in range(1, 60)]
DETAILS: dict[str, dict[str, Any]] = {"Cost": {"energy (kWh)": 0.12, "price": "0.04 EUR"}, "Recipe": {"rank": 16}}


def _tables() -> tuple[Scores, Scores]:
    generator = np.random.default_rng(0)
    arc, mc1 = flips("arc_easy", 300, 40, 10), flips("truthfulqa_mc1", 300, 3, 9)
    levels = generator.uniform(10, 40, 80)
    base = scores(arc[0], mc1[0], texts("heldout", levels))
    return base, scores(arc[1], mc1[1], texts("heldout", levels * generator.normal(0.95, 0.03, 80)))


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
def page(tmp_path: Path) -> Page:
    return Page(_write(tmp_path / "report.html", *_tables()))


def test_says_the_verdict_in_a_sentence(page: Page) -> None:
    assert "The tuned model is better on arc_easy and heldout; on truthfulqa_mc1 these items cannot tell." in page.text
    assert "Base model: stone . Tuned model: stone ." in page.text


def test_shows_every_row_and_number(page: Page) -> None:
    for shown in ("53.3 % 63.3 % +10.00", "40 / 10", "< 0.001", "bits_per_byte", "Detectable", "Adjusted p"):
        assert shown in page.text
    assert [row["scope"] for row in page.all("th") if "scope" not in row] == []


def test_shows_changed_items_side_by_side(page: Page) -> None:
    assert f"Better after tuning: 40, {MOST_ITEMS} shown" in page.text
    assert "Worse after tuning: 10" in page.text
    assert "Question 0: which stone is quarried at Carrara? Choices Before After chalk chosen" in page.text
    assert "marble right answer chosen" in page.text


def test_shows_details_and_curve(page: Page) -> None:
    for shown in ("Cost", "energy (kWh) 0.12", "price 0.04 EUR", "rank 16", "Loss in nats per token"):
        assert shown in page.text
    assert any("Loss over 59 steps" in str(svg.get("aria-label")) for svg in page.all("svg"))
    assert all(svg.get("role") == "img" or svg.get("aria-hidden") == "true" for svg in page.all("svg"))


def test_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    loads_and_runs_nothing(_write(tmp_path / "report.html", *_tables()))


def test_hostile_texts_are_shown_as_texts(tmp_path: Path) -> None:
    attack = "</table><script>alert(1)</script><img src=x onerror=alert(2)>"
    base, tuned = _tables()
    records = [replace(record, question=attack, choices=[attack] * 4) for record in base.records]
    hostile = Scores(records, {"model_name": attack, "dtype": attack})
    html = _write(tmp_path / "report.html", hostile, tuned, details={attack: {attack: [attack]}})
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert attack in Page(html).text


def test_half_a_character_does_not_stop_the_report(tmp_path: Path) -> None:
    base, tuned = _tables()
    broken = Scores([replace(record, question="half \ud83d") for record in base.records], {})
    assert "half ?" in _write(tmp_path / "report.html", broken, tuned)


def test_items_without_choices_show_their_scores(tmp_path: Path) -> None:
    base = scores(texts("heldout", [20.0, 30.0]))
    html = _write(tmp_path / "report.html", base, scores(texts("heldout", [10.0, 35.0])))
    assert "before 2.000, after 1.000" in html
    assert "before 3.000, after 3.500" in html
    values = scores(texts("truthfulqa_mc2", [0.5, 0.25]))
    html = _write(tmp_path / "report.html", values, scores(texts("truthfulqa_mc2", [0.75, 0.25])))
    assert "before 50.0 %, after 75.0 %" in html


def test_nothing_to_show_is_still_a_report(tmp_path: Path) -> None:
    nothing = scores(texts("poems", [1.0, 2.0]))
    page = Page(_write(tmp_path / "report.html", nothing, nothing, curve=[], details={}))
    assert "Nothing could be compared." in page.text
    assert "No training curve was given." in page.text


def test_same_input_same_bytes(tmp_path: Path) -> None:
    assert _write(tmp_path / "a.html", *_tables()) == _write(tmp_path / "b.html", *_tables())
