"""What models wrote, in the verdict and in the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from carrara.evaluate.scores import Record
from carrara.verdict.compare import compare
from carrara.verdict.report import write_report

from .invented import choice, scores, text


def _answer(item: int, bleu: float, said: str) -> Record:
    record = replace(text("truthfulqa_gen", item, bleu), gold=None, choices=["It is so.", "It is not."], labels=[1, 0])
    return replace(record, loglikelihoods=[], written=said, measures={"bleu_acc": bleu, "bleu_diff": bleu / 2})


def _label(item: int, prediction: int | None, said: str) -> Record:
    record = replace(choice("mood", item, right=prediction == 1), choices=["bad", "good"], prediction=prediction)
    return replace(record, loglikelihoods=[], written=said, gold_probability=None)


def test_the_report_shows_what_was_written(tmp_path: Path) -> None:
    base = scores(
        [_answer(n, 0.0, f"before {n} & more") for n in range(30)], [_label(n, None, "who knows") for n in range(30)]
    )
    tuned = scores([_answer(n, 1.0, f"after {n}") for n in range(30)], [_label(n, n % 2, "good") for n in range(30)])
    verdict = compare(base, tuned)
    assert [row.metric for row in verdict.primaries()] == ["bleu_acc", "acc"]
    assert {row.verdict for row in verdict.primaries()} == {"better"}
    write_report(tmp_path / "report.html", verdict, base, tuned, [], {})
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "before 7 &amp; more" in html
    assert "after 7" in html
    assert "who knows" in html
    assert html.count("<bdi>none</bdi>") == 1  # a column of the confusions before alone
