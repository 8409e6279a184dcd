"""Each figure that asks for a decision becomes a sentence, and a clean dossier is fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from carrara.data.dossier import Dossier, fitness, remarks

from .invented import benchmark, clean, full

Change = Callable[[Dossier], None]


def _contaminate(action: str, benchmark_name: str = "arc_challenge", count: int = 3) -> Change:
    def change(dossier: Dossier) -> None:
        counts = {"rows": count, "kept": count if action == "kept" else 0}
        dossier["contamination"]["benchmarks"] = [benchmark(benchmark_name) | counts]  # pyright: ignore

    return change


def _personal(policy: str, rows: int = 14) -> Change:
    def change(dossier: Dossier) -> None:
        types = {"phone": {"values": 4, "rows": 2}, "ip_address": {"values": 20, "rows": 12}}
        dossier["personal_data"] |= {"policy": policy, "rows": rows, "types": types}  # pyright: ignore

    return change


def _set(part: str, **values: object) -> Change:
    return lambda dossier: dossier[part].update(values)


def _quarantine(count: int, field: str | None) -> Change:
    def change(dossier: Dossier) -> None:
        dossier["rows"].update({"read": 1000, "kept": 1000 - count, "unusable": count})
        dossier["quarantine"] = [{"reason": "is empty.", "count": count, "file": "f", "row": 1, "field": field}]

    return change


def _tokens(**parts: object) -> Change:
    def change(dossier: Dossier) -> None:
        tokens = full()["tokens"]
        assert tokens is not None
        none = {"truncated": {"rows": 0}, "set_aside": {"rows": 0, "reasons": []}}
        dossier["tokens"] = tokens | none | parts  # pyright: ignore

    return change


@pytest.mark.parametrize(
    ("change", "severity", "sentence"),
    [
        (_contaminate("kept"), "decide", "3 rows copy questions of arc_challenge."),
        (_contaminate("kept", count=1), "decide", "1 row copies a question of arc_challenge."),
        (_contaminate("kept", "test split"), "decide", "3 rows copy questions of the test split."),
        (_contaminate("dropped"), "note", "3 rows copy questions of arc_challenge and were dropped."),
        (
            lambda d: d["contamination"].update(benchmarks=[benchmark("truthfulqa", checked=False)]),
            "decide",
            "truthfulqa was not checked because it is not at hand.",
        ),
        (_personal("report"), "decide", "14 rows hold personal data: ip address in 12, phone in 2."),
        (_personal("report", 1), "decide", "1 row holds personal data: ip address in 12, phone in 2."),
        (
            _personal("redact"),
            "note",
            "Personal data in 14 rows was replaced by placeholders: ip address in 12, phone in 2.",
        ),
        (_personal("drop"), "note", "14 rows with personal data were dropped: ip address in 12, phone in 2."),
        (_set("personal_data", values_shown=True), "decide", "This dossier shows personal values as they are."),
        (_set("personal_data", names_checked=False), "note", "Names of persons were not looked for."),
        (_quarantine(11, "output"), "decide", "11 rows could not be used, most often because 'output' is empty."),
        (_quarantine(10, None), "note", "10 rows could not be used, most often because the row is empty."),
        (_set("duplicates", conflicting=7), "decide", "7 prompts are answered in more than one way."),
        (
            _set("duplicates", kept={"exact": 0, "near": 1}),
            "note",
            "1 row nearly copies another row and is kept, in the same split as it.",
        ),
        (
            _set("duplicates", kept={"exact": 9, "near": 0}),
            "note",
            "9 rows copy another row and are kept, in the same split as it.",
        ),
        (_set("splits", train=0), "stop", "No row is left to train on."),
        (_set("splits", test=0), "note", "No row is held back to measure the result."),
        (_set("rows", kept=98), "stop", "The counts do not add up: 2 rows too few."),
        (_set("labels", rare={"test": 2}), "decide", "1 label has no row to learn from: 'rare'."),
        (
            _tokens(truncated={"rows": 2}),
            "decide",
            "2 rows are too long for the model and lose the beginning of the context.",
        ),
        (
            _tokens(set_aside={"rows": 1, "reasons": [{"reason": "two users.", "count": 1}]}),
            "note",
            "1 row cannot be rendered for the model nor trained on: two users.",
        ),
        (
            _set("endings", without_end_mark=212, share=0.087),
            "note",
            "212 answers (8.7 % of the longer ones) end without a closing mark and may have been cut.",
        ),
    ],
)
def test_a_figure_becomes_a_sentence(change: Change, severity: str, sentence: str) -> None:
    dossier = clean()
    before = {remark.sentence for remark in remarks(dossier)}
    change(dossier)
    fresh = [(remark.severity, remark.sentence) for remark in remarks(dossier) if remark.sentence not in before]
    assert fresh == [(severity, sentence)]


def test_a_clean_dossier_is_fit() -> None:
    made = remarks(clean())
    assert fitness(made) == "fit"
    assert [remark.sentence for remark in made] == [
        "The rows were compared with no benchmark.",
        "Tokens were not counted, for want of a model.",
    ]


def test_the_gravest_comes_first_and_decides() -> None:
    assert fitness(remarks(full())) == "fit once decided"
    dossier = full()
    dossier["splits"] = {"train": 0, "validation": 40, "test": 41}
    made = remarks(dossier)
    assert fitness(made) == "not fit"
    severities = [remark.severity for remark in made]
    assert severities == sorted(severities, key=["stop", "decide", "note"].index)


def test_hostile_texts_stay_one_printable_line() -> None:
    dossier = full()
    dossier["quarantine"][0].update(reason="\x1b[2J\nnext \u202eline" * 99, field="a\x07b")
    dossier["contamination"]["benchmarks"][1].update(why="\x1b]0;x\x07")
    for remark in remarks(dossier):
        assert remark.sentence.isprintable()
        assert remark.remedy.isprintable()
        assert len(remark.sentence) < 400
