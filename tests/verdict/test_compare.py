"""Verdicts on invented scores, what is refused and noted, and how often a verdict is false."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.errors import Refusal
from carrara.evaluate.scores import Record, Scores
from carrara.verdict import power
from carrara.verdict.compare import compare, headline, is_no_worse, worst_loss

from .invented import answers, flips, scores, text, texts


def test_a_row_holds_the_paired_numbers() -> None:
    before, after = flips("arc_easy", 100, won=8, lost=2)
    row = compare(scores(before), scores(after)).verdicts[0]
    assert (row.task, row.metric, row.n, row.won, row.lost) == ("arc_easy", "acc", 100, 8, 2)
    assert (row.base, row.tuned, row.delta) == pytest.approx((0.52, 0.58, 0.06))
    assert row.p == pytest.approx(0.109, abs=5e-4)
    assert row.ci[0] < 0 < row.ci[1]
    assert row.detectable == power.detectable_share(0.1, 100)
    assert (row.primary, row.clusters, row.unit) == (True, 0, "points")
    assert row.verdict == "no worse"


@pytest.mark.parametrize(
    ("n", "won", "lost", "word"),
    [
        (1000, 60, 20, "better"),
        (1000, 20, 60, "worse"),
        (5000, 20, 22, "no worse"),
        (200, 20, 22, "can't tell"),
        (100_000, 300, 400, "worse"),  # certain, though inside the margin
        (10, 3, 0, "can't tell"),
    ],
)
def test_words(n: int, won: int, lost: int, word: str) -> None:
    before, after = flips("arc_easy", n, won, lost)
    verdict = compare(scores(before), scores(after))
    assert verdict.verdict == verdict.verdicts[0].verdict == word


def test_margin_is_in_points() -> None:
    before, after = flips("arc_easy", 1000, won=20, lost=22)
    assert compare(scores(before), scores(after), margin=1.0).verdict == "can't tell"
    assert compare(scores(before), scores(after), margin=3.0).verdict == "no worse"


def test_margin_of_a_loss_is_percent_of_the_base_value() -> None:
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    verdict = compare(scores(texts("heldout", [20.0] * 200)), scores(texts("heldout", 20.0 + noise)), margin=0.1)
    row = verdict.verdicts[0]
    assert (row.metric, row.higher_is_better, row.base) == ("loss", False, 2.0)
    assert worst_loss(row) == pytest.approx(100 * row.ci[1] / 2.0)
    assert verdict.verdict == "no worse"
    assert is_no_worse(row, 0.1)
    assert not is_no_worse(row, 0.01)


def test_heldout_is_a_ratio_of_sums() -> None:
    """Loss is nats over tokens of all items, bits per byte the same nats over bytes; lower is better."""
    values = np.random.default_rng(1).uniform(10, 40, 60)
    base = [text("heldout", i, float(v), tokens=5 + i, size=20 + i) for i, v in enumerate(values)]
    tuned = [replace(record, value=record.value * 0.9) for record in base]
    verdict = compare(scores(base), scores(tuned))
    loss, bits = verdict.verdicts
    assert (loss.metric, bits.metric) == ("loss", "bits_per_byte")
    assert loss.base == pytest.approx(values.sum() / sum(record.tokens for record in base))
    assert bits.tuned == pytest.approx(0.9 * values.sum() / math.log(2) / sum(record.bytes for record in base))
    assert loss.delta < 0
    assert loss.ci[1] < 0
    assert (loss.won, loss.lost) == (60, 0)
    assert verdict.verdict == "better"
    assert loss.p == bits.p


def test_mc2_is_the_mean_of_values() -> None:
    generator = np.random.default_rng(2)
    before = generator.uniform(0.2, 0.8, 300)
    after = before + generator.normal(-0.05, 0.1, 300)
    row = compare(scores(texts("truthfulqa_mc2", before)), scores(texts("truthfulqa_mc2", after))).verdicts[0]
    assert (row.metric, row.verdict) == ("mc2", "worse")
    assert row.delta == pytest.approx(after.mean() - before.mean())


def test_acc_norm_speaks_for_arc_and_acc_for_others() -> None:
    better, same = [True] * 200, [False] * 200
    for task, metrics in (
        ("arc_challenge", ["acc_norm", "acc"]),
        ("hellaswag", ["acc_norm", "acc"]),
        ("mmlu", ["acc", "acc_norm"]),
    ):
        verdict = compare(scores(answers(task, same, same)), scores(answers(task, same, better)))
        assert [row.metric for row in verdict.verdicts] == metrics
        assert verdict.primary(task) == verdict.verdicts[0] == verdict.primaries()[0]
        assert [row.primary for row in verdict.verdicts] == [True, False]
        assert verdict.verdict == ("better" if metrics[0] == "acc_norm" else "can't tell")


@pytest.mark.parametrize(
    ("first", "second", "overall"),
    [
        ((60, 20), (60, 20), "better"),
        ((60, 20), (20, 60), "mixed"),
        ((60, 20), (20, 22), "better"),
        ((20, 60), (20, 22), "worse"),
        ((2, 3), (3, 2), "no worse"),
        ((2, 3), (100, 99), "can't tell"),
    ],
)
def test_overall(first: tuple[int, int], second: tuple[int, int], overall: str) -> None:
    pairs = flips("arc_easy", 1000, *first), flips("mmlu", 1000, *second)
    verdict = compare(scores(*(pair[0] for pair in pairs)), scores(*(pair[1] for pair in pairs)))
    assert verdict.verdict == overall


def test_holm_counts_the_primary_metrics() -> None:
    """p = .031 is enough alone and too little among two tasks."""
    before, after = flips("arc_easy", 100, won=6, lost=0)
    alone = compare(scores(before), scores(after))
    other = flips("mmlu", 100, won=5, lost=5)
    among = compare(scores(before, other[0]), scores(after, other[1]))
    assert alone.verdict == "better"
    assert (among.verdict, among.verdicts[0].p_adjusted) == ("can't tell", pytest.approx(0.0625))
    assert among.verdicts[0].detectable == power.detectable_share(0.06, 100, 0.025) > alone.verdicts[0].detectable


def test_a_secondary_metric_costs_and_decides_nothing() -> None:
    """acc_norm and the likelihoods of the right choice keep their own p; only acc speaks for the task."""
    before, after = flips("mmlu", 100, won=6, lost=0)
    sure = [replace(record, correct_norm=True, gold_probability=0.5, gold_bits_per_byte=0.9) for record in after]
    unsure = [replace(record, correct_norm=False, gold_probability=0.7, gold_bits_per_byte=0.5) for record in before]
    verdict = compare(scores(unsure), scores(sure))
    first, normed, bits, probability = verdict.verdicts
    assert [row.metric for row in verdict.verdicts] == ["acc", "acc_norm", "gold_bits_per_byte", "gold_probability"]
    assert [row.primary for row in verdict.verdicts] == [True, False, False, False]
    assert first.p == first.p_adjusted == pytest.approx(0.03125)
    assert all(row.p == row.p_adjusted < 0.001 for row in (normed, bits, probability))
    assert [row.verdict for row in verdict.verdicts] == ["better", "better", "worse", "worse"]
    assert (bits.base, bits.tuned) == pytest.approx((0.5, 0.9))
    assert (bits.higher_is_better, bits.unit) == (False, "bits per byte")
    assert (bits.won, bits.lost) == (0, 100)
    assert (probability.delta, probability.higher_is_better, probability.unit) == (pytest.approx(-0.2), True, "points")
    assert verdict.verdict == "better"
    assert normed.detectable == power.detectable_share(1.0, 100, 0.05)


def test_items_that_are_not_the_same_are_refused() -> None:
    before, after = flips("arc_easy", 100, 5, 5)
    with pytest.raises(Refusal, match=r"task arc_easy: 1 of 100 items do not have the same gold in both files"):
        compare(scores(before), scores([replace(after[0], gold=3), *after[1:]]))


def test_no_shared_task_is_refused() -> None:
    with pytest.raises(Refusal, match=r"share no task \(arc_easy against mmlu\)"):
        compare(scores(answers("arc_easy", [True] * 5)), scores(answers("mmlu", [True] * 5)))
    with pytest.raises(Refusal, match="none against none"):
        compare(scores(), scores())


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_numbers_that_overflowed_are_refused(broken: float) -> None:
    with pytest.raises(Refusal, match="task heldout: 1 values are not finite"):
        compare(scores(texts("heldout", [1.0, 2.0])), scores(texts("heldout", [1.0, broken])))


def test_texts_of_unlike_length_are_refused() -> None:
    base = [text("heldout", 0, 1.0, tokens=0), text("heldout", 1, 2.0), text("heldout", 2, 2.0)]
    tuned = [base[0], replace(base[1], tokens=9), base[2]]
    with pytest.raises(Refusal, match="task heldout: 2 items have no scored tokens or not the same number"):
        compare(scores(base), scores(tuned))


def test_tasks_on_one_side_are_named_and_left_out() -> None:
    before, after = flips("arc_easy", 100, 5, 5)
    verdict = compare(scores(before, answers("mmlu", [True])), scores(after, answers("hellaswag", [True])))
    assert [row.task for row in verdict.verdicts] == ["arc_easy"]
    assert verdict.notes == [
        "mmlu was measured only for the base model and was left out.",
        "hellaswag was measured only for the tuned model and was left out.",
    ]


def test_what_cannot_be_compared_is_noted() -> None:
    one, unknown = answers("mmlu", [True]), texts("poems", [1.0, 2.0])
    verdict = compare(scores(one, unknown), scores(one, unknown))
    assert (verdict.verdict, verdict.verdicts, verdict.primary("mmlu")) == ("can't tell", [], None)
    assert [note.split()[0] for note in verdict.notes] == ["mmlu", "poems"]
    assert headline(verdict) == "Nothing could be compared."


def test_accuracy_below_guessing_is_noted() -> None:
    before, after = flips("arc_easy", 400, won=0, lost=100, both=0)
    verdict = compare(scores(before), scores(after))
    assert len(verdict.notes) == 1  # the base is at guessing, the tuned model at 0
    assert "the tuned model scores 0.0 %" in verdict.notes[0]
    assert "guessing (25.0 %)" in verdict.notes[0]


def test_other_rules_are_refused_and_other_devices_noted() -> None:
    before, after = flips("arc_easy", 100, 5, 5)
    with pytest.raises(Refusal, match=r"different protocols \(a for the base, b for the tuned model\)"):
        compare(Scores(before, {"protocol": {"name": "a"}}), Scores(after, {"protocol": {"name": "b"}}))
    with pytest.raises(Refusal, match="--dtype float32"):
        compare(Scores(before, {"dtype": "float32"}), Scores(after, {"dtype": "bfloat16"}))
    verdict = compare(Scores(before, {"device": "cpu"}), Scores(after, {"device": "cuda"}))
    assert verdict.notes == [
        "the base ran on cpu and the tuned model on cuda; rounding may flip items whose choices are close."
    ]


def test_headline_names_the_tasks() -> None:
    parts = [flips("a", 1000, 60, 20), flips("b", 1000, 20, 60), flips("c", 1000, 2, 2), flips("d", 1000, 99, 99)]
    verdict = compare(scores(*(part[0] for part in parts)), scores(*(part[1] for part in parts)))
    assert headline(verdict) == (
        "The tuned model is better on a, worse on b, no worse on c; on d these items cannot tell."
    )
    alone = compare(scores(parts[3][0]), scores(parts[3][1]))
    assert headline(alone) == "On d these items cannot tell better from worse."
    assert headline(compare(scores(parts[0][0]), scores(parts[0][1]))) == "The tuned model is better on a."


def test_a_verdict_is_json() -> None:
    before, after = flips("arc_easy", 10, 1, 1)
    document = json.loads(json.dumps(asdict(compare(scores(before), scores(after))), allow_nan=False))
    assert document["verdicts"][0]["won"] == 1


@given(flags=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=80))
@settings(max_examples=60, deadline=None)
def test_swapping_the_models_mirrors_the_row(flags: list[tuple[bool, bool]]) -> None:
    before = scores(answers("arc_easy", [flag[0] for flag in flags]))
    after = scores(answers("arc_easy", [flag[1] for flag in flags]))
    there, back = compare(before, after).verdicts[0], compare(after, before).verdicts[0]
    assert (there.won, there.lost, there.p) == (back.lost, back.won, back.p)
    assert (there.delta, there.ci[0]) == pytest.approx((-back.delta, -back.ci[1]), abs=1e-7)
    assert 0 <= there.p <= there.p_adjusted <= 1
    assert there.ci[0] <= there.delta <= there.ci[1]


def test_two_runs_of_one_model_are_rarely_told_apart() -> None:
    """A/A: five tasks, both sides drawn alike; at most 5 % of the overall verdicts may say better or worse."""
    generator = np.random.default_rng(3)
    false = 0
    for _ in range(150):
        sides = []
        skill, level = generator.random((3, 90)), generator.uniform(1, 4, (2, 60))
        for _side in range(2):
            right = (0.75 * skill + 0.25 * generator.random((3, 90))) > 0.5
            moved = level * np.exp(generator.normal(0, 0.05, level.shape))
            tasks = [answers(name, right[i], right[i]) for i, name in enumerate(("arc_easy", "mmlu", "hellaswag"))]
            sides.append(scores(*tasks, texts("truthfulqa_mc2", moved[0] / 8), texts("heldout", moved[1])))
        false += compare(*sides).verdict in ("better", "worse", "mixed")
    assert false <= 0.05 * 150


def _in_another_order(sides: tuple[list[Record], list[Record]]) -> tuple[Scores, Scores]:
    order = np.random.default_rng(5).permutation(len(sides[0]))
    before, after = (scores([side[place] for place in order]) for side in sides)
    return before, after


def test_a_verdict_looked_at_again_and_again_needs_more_and_says_so() -> None:
    sides = _in_another_order(flips("arc_easy", 400, won=22, lost=8))
    once, looked = (compare(*sides, looked=flag) for flag in (False, True))
    assert once.verdicts[0].verdict == "better"
    assert looked.verdicts[0].p > once.verdicts[0].p
    assert looked.verdicts[0].detectable > once.verdicts[0].detectable
    assert any("one of several looks" in note for note in looked.notes)
    (row,) = compare(*_in_another_order(flips("arc_easy", 400, won=60, lost=5)), looked=True).primaries()
    assert (row.verdict, row.ci[0] > 0) == ("better", True)
    assert row.ci[0] < row.delta < row.ci[1]


def test_what_has_no_test_that_stays_valid_is_left_out_of_a_look() -> None:
    base, tuned = (scores(part, texts("heldout", [1.0, 2.0, 3.0])) for part in flips("arc_easy", 40, 3, 2))
    verdict = compare(base, tuned, looked=True)
    assert [row.task for row in verdict.primaries()] == ["arc_easy"]
    assert any(note.startswith("heldout has no test that stays valid") for note in verdict.notes)


def test_stopping_at_the_first_verdict_is_rarely_false() -> None:
    """Of 150 comparisons of like models, each looked at ten times, at most 5 % get a verdict; by a fixed test more."""
    generator = np.random.default_rng(3)
    false = {True: 0, False: 0}
    for _ in range(150):
        right = generator.random((2, 400)) < 0.5
        for looked in (True, False):
            words: list[str] = []
            for n in range(40, 401, 40):
                base, tuned = (scores(answers("arc_easy", side[:n].tolist())) for side in right)
                words.append(compare(base, tuned, looked=looked).verdict)
            false[looked] += any(word in ("better", "worse") for word in words)
    assert false[True] <= 0.05 * 150
    assert false[False] > 0.08 * 150


def test_losses_alone_leave_room_for_more_of_them() -> None:
    """One item lost of 100: the interval allows for more flips than were seen, as Tango's does."""
    base, tuned = flips("arc_easy", 100, won=0, lost=1)
    (row,) = compare(scores(base), scores(tuned), looked=True).primaries()
    assert row.ci[0] < -0.05
    assert row.verdict == "can't tell"


def test_clusters_without_a_flip_claim_no_certainty() -> None:
    base, tuned = (
        [replace(record, cluster=str(record.item // 10)) for record in side] for side in flips("arc_easy", 1000, 4, 0)
    )
    (row,) = compare(scores(base), scores(tuned)).primaries()
    assert row.detectable >= power.detectable_share(0.004, 1000)


def test_what_was_written_is_compared_by_its_measures() -> None:
    """Right and wrong by McNemar, likeness by its mean; a low rate of missing ends is not below guessing."""
    (plain,) = texts("heldout_answers", [0.0])

    def written(item: int, chrf: float, missing: float) -> Record:
        measures = {"chrf": chrf, "missing_end": missing, "words": 9.0}
        return replace(plain, item=item, id=f"{item}", choices=["a cat"], gold=None, labels=[1], loglikelihoods=[],
                       written=f"text {chrf}", measures=measures, value=chrf, prompt_sha256=f"{item}")  # fmt: skip

    base = scores([written(n, 0.2 + 0.001 * n, 1.0) for n in range(60)])
    tuned = scores([written(n, 0.5 - 0.001 * n, float(n % 10 == 0)) for n in range(60)])
    verdict = compare(base, tuned)
    chrf, missing = verdict.verdicts
    assert (chrf.metric, chrf.verdict, chrf.primary) == ("chrf", "better", True)
    assert chrf.delta == pytest.approx(0.3 - 0.002 * 29.5)
    assert (missing.metric, missing.won, missing.lost, missing.is_flips) == ("missing_end", 54, 0, True)
    assert missing.delta == pytest.approx(-0.9)
    assert missing.ci[0] < missing.delta < missing.ci[1] < 0
    back = compare(tuned, base).verdicts[1]
    assert (back.delta, back.ci) == (pytest.approx(0.9), pytest.approx((-missing.ci[1], -missing.ci[0])))
    assert (missing.verdict, back.verdict) == ("better", "worse")
    looked = compare(base, tuned, looked=True)
    assert (looked.verdicts, looked.verdict) == ([], "can't tell")
    assert any("heldout_answers has no test that stays valid" in note for note in looked.notes)
    assert not any("guessing" in note for note in verdict.notes)


def test_of_a_few_items_that_did_not_change_little_can_be_said() -> None:
    (plain,) = texts("support", [0.0])

    def verdict_of(count: int) -> tuple[str, float]:
        written = [
            replace(plain, item=n, id=f"{n}", gold=None, labels=[1], measures={"chrf": 0.4}, prompt_sha256=f"{n}")
            for n in range(count)
        ]
        (row,) = compare(scores(written), scores(written)).verdicts
        assert row.ci[0] == pytest.approx(-row.ci[1])
        return row.verdict, row.ci[1]

    assert verdict_of(4) == ("can't tell", pytest.approx(0.49, abs=0.01))
    assert verdict_of(1000) == ("no worse", pytest.approx(0.0038, abs=0.0001))
