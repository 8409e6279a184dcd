"""Learning curves are well-formed, say in words what they show, and stay inside their frame."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.verdict import plots


def _numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", path)]


def test_loss_curve_draws_both_lines_and_names_them() -> None:
    curve = [{"step": step, "loss": 3 / (1 + step / 50)} for step in range(1, 200)]
    curve += [{"step": 199, "validation_loss": 0.9}, {"step": 100, "loss": None, "validation_loss": 1.2}]
    ((caption, picture),) = plots.curves(sorted(curve, key=lambda entry: entry["step"]))
    assert caption == "Loss in nats per token"
    svg = ElementTree.fromstring(picture)
    assert svg.get("role") == "img"
    assert svg.get("aria-label") == svg.findtext("title")
    assert "training from 2.941 to 0.602, validation from 1.200 to 0.900" in str(svg.get("aria-label"))
    texts = [text.text for text in svg.iter("text")]
    assert "training" in texts
    assert "validation (dashed)" in texts
    assert len(list(svg.iter("circle"))) == 2


@pytest.mark.parametrize("curve", [[], [{"step": 1, "loss": math.nan}], [{"step": 1}]])
def test_no_points_no_plot(curve: list[dict[str, Any]]) -> None:
    assert plots.curves(curve) == []


def test_each_measured_series_has_a_picture_of_its_own() -> None:
    curve = [
        {"step": step, "loss": 1 / step, "learning_rate": 1e-4, "gradient_norm": 0.1 * step, "tokens_per_second": 1e5}
        for step in range(1, 30)
    ]
    pictures = dict(plots.curves(curve))
    assert list(pictures) == [
        "Loss in nats per token", "Learning rate", "Norm of the gradient before clipping", "Tokens a second"
    ]  # fmt: skip
    svg = ElementTree.fromstring(pictures["Learning rate"])
    assert svg.get("aria-label") == "Learning rate over 29 steps: from 0.0001 to 0.0001"
    heights = [text.text for text in svg.iter("text") if text.get("class") == "right"]
    assert heights == ["0.00000", "0.00005", "0.00010", "0.00015", "0.00020"]
    numbers = [text.text for text in ElementTree.fromstring(pictures["Tokens a second"]).iter("text")]
    assert "100,000" in numbers


@given(
    losses=st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=30),
    start=st.integers(0, 10**6),
)
@settings(max_examples=60, deadline=None)
def test_any_curve_stays_in_its_frame(losses: list[float], start: int) -> None:
    curve = [{"step": start + index, "loss": loss} for index, loss in enumerate(losses)]
    svg = ElementTree.fromstring(plots.curves(curve)[0][1])
    drawn = [path.get("d", "") for path in svg.iter("path") if path.get("class") == "training"]
    numbers = _numbers(drawn[0])
    assert all(51 <= x <= 391 for x in numbers[::2])
    assert all(29 <= y <= 197 for y in numbers[1::2])


def test_long_curves_are_thinned_but_keep_spikes() -> None:
    curve = [{"step": step, "loss": 9.0 if step == 7777 else 1.0 + step / 1e6} for step in range(20_000)]
    picture = plots.curves(curve)[0][1]
    assert len(picture) < 12_000
    assert min(_numbers(picture.split('class="training" d="M')[1].split('"')[0])[1::2]) < 45  # the spike's height
