"""Several tuned models on one base: their tests are one family, which each verdict is judged by and says."""

from __future__ import annotations

import numpy as np
import pytest

from carrara.errors import Refusal
from carrara.evaluate.scores import Scores
from carrara.verdict import power
from carrara.verdict.compare import compare, compare_several

from .invented import answers, flips, scores


def test_one_tuned_model_is_judged_as_ever() -> None:
    before, after = (scores(one, other) for one, other in zip(flips("a", 90, 9, 2), flips("b", 80, 3, 3), strict=True))
    assert compare_several(before, [after]) == [compare(before, after)]
    assert not any("tuned models" in note for note in compare(before, after).notes)


def test_holm_counts_the_tests_of_all_tuned_models() -> None:
    """p = .031 is enough for one tuned model and too little for one of two, whatever the other shows."""
    before, after = flips("arc_easy", 100, won=6, lost=0)
    more = flips("mmlu", 100, won=1, lost=0)
    base = scores(before, more[0])
    first, second = compare_several(base, [scores(after, more[1]), scores(before)])
    assert compare(scores(before), scores(after)).verdict == "better"
    assert [row.p_adjusted for row in first.primaries()] == pytest.approx([3 * 0.03125, 1.0])
    assert first.verdicts[0].verdict == "no worse"
    assert first.verdicts[0].detectable == power.detectable_share(0.06, 100, 0.05 / 3)
    assert second.verdicts[0].detectable == power.detectable_share(0.0, 100, 0.05 / 3)
    for verdict in (first, second):
        assert "This is one of 2 tuned models on one base, and p is adjusted over the 3 primary" in verdict.notes[-1]
        assert "confirm the one you choose on other items" in verdict.notes[-1]
    assert second.notes[0] == "mmlu was measured only for the base model and was left out."


def test_the_order_of_tuned_models_changes_nothing() -> None:
    before, after = flips("arc_easy", 300, won=20, lost=4)
    worse = scores(answers("arc_easy", [False] * 20 + [True] * 4 + [False] * 30 + [True] * 120 + [False] * 126))
    sides = [scores(after), worse, scores(before)]
    found = compare_several(scores(before), sides)
    assert [verdict.verdict for verdict in found] == ["better", "worse", "no worse"]
    assert compare_several(scores(before), sides[::-1]) == found[::-1]


def test_what_more_items_would_show_is_told_for_the_whole_family() -> None:
    before, after = (
        Scores(side, {"model_name": "stone", "tasks": {"arc_easy": {"of": 1000}}})
        for side in flips("arc_easy", 100, won=6, lost=0)
    )
    (alone,) = (note for note in compare(before, after).notes if "of 1,000 items" in note)
    (among,) = (note for note in compare_several(before, [after, before])[0].notes if "of 1,000 items" in note)
    for told, alpha in ((alone, 0.05), (among, 0.025)):
        now, then = (100 * power.detectable_share(0.06, n, alpha) for n in (100, 1000))
        assert f"show differences from {now:.1f} points on;" in told
        assert f"show them from {then:.1f} points on." in told
    assert alone != among


def test_a_refusal_names_the_tuned_model() -> None:
    before, after = flips("arc_easy", 100, 5, 5)
    base, good = Scores(before, {"protocol": {"name": "a"}}), Scores(after, {"protocol": {"name": "a"}})
    for bad, words in (
        (Scores(after, {"model_name": "slate", "protocol": {"name": "b"}}), "slate: the two were evaluated under"),
        (Scores([], {"model_name": "slate", "protocol": {"name": "a"}}), "slate: the two score files share no task"),
    ):
        with pytest.raises(Refusal, match=words):
            compare_several(base, [good, bad])


def test_among_several_models_like_the_base_one_is_rarely_told_apart() -> None:
    """A/A with four tuned models: at most 5 % of 80 families hold a false verdict; judged one by one, more do."""
    generator = np.random.default_rng(7)
    false = {"family": 0, "one by one": 0}
    for _ in range(80):
        base, *tuned = (scores(answers("arc_easy", (generator.random(150) < 0.5).tolist())) for _ in range(5))
        verdicts = {"family": compare_several(base, tuned), "one by one": [compare(base, each) for each in tuned]}
        for how, found in verdicts.items():
            false[how] += any(verdict.verdict in ("better", "worse") for verdict in found)
    assert false["family"] <= 0.05 * 80
    assert false["one by one"] > 0.05 * 80
