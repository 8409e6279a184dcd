"""Numbers as people read them."""

from __future__ import annotations

import pytest

from carrara.verdict import formats
from carrara.verdict.compare import compare

from .invented import flips, scores, texts


def test_units_follow_the_metric() -> None:
    before, after = flips("arc_easy", 100, 8, 2)
    row = compare(scores(before), scores(after)).verdicts[0]
    assert (formats.value(row, 0.612), formats.difference(row, -0.0182), formats.unit(row)) == (
        "61.2 %",
        "\N{MINUS SIGN}1.82",
        "points",
    )
    heldout = scores(texts("heldout", [1.0, 2.0, 3.0]))
    loss, bits = compare(heldout, heldout).verdicts
    assert (formats.value(loss, 2.1344), formats.difference(loss, 0.12)) == ("2.134", "+0.120")
    assert (formats.unit(loss), formats.unit(bits)) == ("nats per token", "bits per byte")


@pytest.mark.parametrize(("p", "shown"), [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.0312, "0.031"), (1.0, "1.000")])
def test_p_values(p: float, shown: str) -> None:
    assert formats.p_value(p) == shown
