"""The picture of all differences shows the verdict's numbers where the axis says."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from carrara.verdict import formats
from carrara.verdict.compare import TaskVerdict, Verdict, compare
from carrara.verdict.forest import panels

from .invented import answers, flips, scores, texts


def _verdict(margin: float = 1.5) -> Verdict:
    arc, mc1 = flips("arc_easy", 300, 40, 10), flips("truthfulqa_mc1", 300, 3, 9)
    base, tuned = texts("heldout", range(20, 60)), texts("heldout", [0.9 * level for level in range(20, 60)])
    return compare(scores(base, mc1[0], arc[0]), scores(tuned, mc1[1], arc[1]), margin)


def _percent(element: ElementTree.Element, name: str) -> float:
    return float(str(element.get(name)).removesuffix("%"))


def _of(svg: ElementTree.Element, tag: str, kind: str) -> list[ElementTree.Element]:
    return [element for element in svg.iter(tag) if str(element.get("class")).split()[:1] == [kind]]


def _places(rows: list[TaskVerdict], svg: ElementTree.Element) -> list[tuple[float, float, float]]:
    """Difference and interval of each row in its unit, read off the picture by the zero line and the first dot."""
    zero = _percent(_of(svg, "line", "zero")[0], "x1")
    points = [_percent(point, "cx") for point in _of(svg, "circle", "point")]
    far = max(range(len(rows)), key=lambda index: abs(rows[index].delta))
    unit = rows[far].delta / (points[far] - zero)
    bars = [line for line in _of(svg, "line", "interval") if line.get("y1") == line.get("y2")]
    return [
        ((point - zero) * unit, (_percent(bar, "x1") - zero) * unit, (_percent(bar, "x2") - zero) * unit)
        for point, bar in zip(points, bars, strict=True)
    ]


def _names(svg: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in svg.iter("text") if len(text)]


def test_a_panel_for_each_unit_points_first() -> None:
    found = panels(_verdict())
    assert [(panel.unit, panel.higher_is_better) for panel in found] == [
        ("points", True),
        ("nats per token", False),
        ("bits per byte", False),
    ]
    assert all(len(panel.pictures) == 2 for panel in found)


@pytest.mark.parametrize("layout", [0, 1])
def test_dots_and_intervals_stand_where_the_numbers_say(layout: int) -> None:
    verdict = _verdict()
    svg = ElementTree.fromstring(panels(verdict)[0].pictures[layout])
    rows = [row for row in verdict.primaries() if row.higher_is_better]
    assert [row.task for row in rows] == ["truthfulqa_mc1", "arc_easy"]
    for row, place in zip(rows, _places(rows, svg), strict=True):
        assert place == pytest.approx((row.delta, *row.ci), abs=1e-4)


def test_numbers_and_verdicts_stand_beside_each_row() -> None:
    verdict = _verdict()
    svg = ElementTree.fromstring(panels(verdict)[0].pictures[0])
    shown = ["".join(text.itertext()) for text in svg.iter("text")]
    assert shown[:6] == [
        "truthfulqa_mc1 acc",
        f"−2.00 (−{100 * -verdict.verdicts[2].ci[0]:.2f} to +{100 * verdict.verdicts[2].ci[1]:.2f})",
        "can't tell",
        "arc_easy acc",
        f"+10.00 (+{100 * verdict.verdicts[3].ci[0]:.2f} to +{100 * verdict.verdicts[3].ci[1]:.2f})",
        "better",
    ]
    assert "0" in shown
    assert "+10" in shown
    assert shown[-1] == "better →"


def test_title_and_description_say_what_is_drawn() -> None:
    pictures = [picture for panel in panels(_verdict()) for picture in panel.pictures]
    identities: set[str] = set()
    for picture in pictures:
        svg = ElementTree.fromstring(picture)
        title, description = svg.find("title"), svg.find("desc")
        assert title is not None
        assert description is not None
        assert svg.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
        identities |= {str(title.get("id")), str(description.get("id"))}
    assert len(identities) == 2 * len(pictures)
    told = ElementTree.fromstring(pictures[0]).findtext("desc")
    assert told is not None
    assert told.startswith("truthfulqa_mc1 acc −2.00 (")
    assert told.endswith("), better")


def test_the_margin_is_shaded_on_the_side_of_the_loss() -> None:
    verdict = _verdict(margin=2.0)
    points, nats, _ = (ElementTree.fromstring(panel.pictures[0]) for panel in panels(verdict))
    rows = [row for row in verdict.primaries() if row.higher_is_better]
    zero = _percent(_of(points, "line", "zero")[0], "x1")
    unit = (_percent(_of(points, "circle", "point")[1], "cx") - zero) / rows[1].delta
    for shade in _of(points, "rect", "margin"):
        assert _percent(shade, "x") + _percent(shade, "width") == pytest.approx(zero, abs=0.02)
        assert _percent(shade, "width") / unit == pytest.approx(0.02, abs=1e-4)
    loss = next(row for row in verdict.verdicts if row.metric == "loss")
    zero = _percent(_of(nats, "line", "zero")[0], "x1")
    unit = (_percent(_of(nats, "circle", "point")[0], "cx") - zero) / loss.delta
    (shade,) = _of(nats, "rect", "margin")
    assert _percent(shade, "x") == pytest.approx(zero, abs=0.01)
    assert _percent(shade, "width") / unit == pytest.approx(0.02 * loss.base, abs=1e-4)


def test_primary_metrics_come_first() -> None:
    both = answers("arc_easy", [True] * 30 + [False] * 10, [True] * 20 + [False] * 20)
    mc1 = answers("truthfulqa_mc1", [True] * 40)
    verdict = compare(scores(both, mc1), scores(both, mc1))
    svg = ElementTree.fromstring(panels(verdict)[0].pictures[0])
    others = svg.find("g")
    assert others is not None
    assert _names(others) == ["arc_easy acc"]
    assert _names(svg) == ["arc_easy acc_norm", "truthfulqa_mc1 acc", "arc_easy acc"]
    assert "Other metrics, which decide nothing" in [text.text for text in svg.iter("text")]


@pytest.mark.parametrize(("n", "won", "lost"), [(100, 8, 2), (100, 0, 50), (100, 50, 0), (2, 1, 0), (5000, 0, 0)])
def test_everything_stays_in_the_frame(n: int, won: int, lost: int) -> None:
    before, after = flips("arc_easy", n, won, lost)
    verdict = compare(scores(before), scores(after), 0.0)
    for picture, (left, right) in zip(panels(verdict)[0].pictures, ((27, 68), (2, 98)), strict=True):
        svg = ElementTree.fromstring(picture)
        places = [_percent(line, end) for line in svg.iter("line") for end in ("x1", "x2")]
        assert all(left <= place <= right for place in places)


def test_nothing_compared_is_no_picture() -> None:
    assert panels(compare(scores(texts("poems", [1.0, 2.0])), scores(texts("poems", [1.0, 2.0])))) == []


def test_names_are_escaped() -> None:
    verdict = _verdict()
    hostile = '"><script>alert(1)</script>'
    rows = [replace(row, task=hostile) for row in verdict.verdicts[-1:]]
    picture = panels(replace(verdict, verdicts=rows))[0].pictures[0]
    assert "<script" not in picture
    assert formats.difference(rows[0], rows[0].delta) in picture
