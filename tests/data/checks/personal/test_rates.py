"""The error rates: measured anew on a small corpus, as published, and on real texts."""

from __future__ import annotations

import json
from pathlib import Path

from carrara.data.checks.personal import TYPES, error_rates, find_personal_data
from tests.data.checks.personal.corpus import corpus
from tests.data.checks.personal.scoring import rates


def _detect(text: str) -> list[tuple[str, int, int]]:
    return [(finding.type, finding.start, finding.end) for finding in find_personal_data(text, ())]


def test_every_type_keeps_its_rates_on_another_seed() -> None:
    measured = rates(corpus(seed=20_011, positives=150, negatives=1_500), _detect)
    assert measured.keys() == TYPES.keys()
    for kind, rate in measured.items():
        assert rate.recall >= 0.97, kind
        assert rate.precision >= 0.95, kind


def test_the_published_rates_are_complete_and_within_the_figures() -> None:
    published = error_rates()
    assert published.keys() == TYPES.keys()
    for rate in published.values():
        assert rate["recall"] >= 0.97
        assert rate["precision"] >= 0.95
        assert rate["positives"] >= 400
        assert rate["negatives"] >= 4_000


def test_the_values_of_the_corpus_are_where_it_says() -> None:
    sentences = corpus(seed=5, positives=3, negatives=10)
    assert len(sentences) == 3 * len(TYPES) + 10
    for sentence in sentences:
        for _, start, end in sentence.values:
            assert 0 <= start < end <= len(sentence.text)


def test_arithmetic_prose_is_clean(benchmark_folder: Path) -> None:
    lines = (benchmark_folder / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:3_000]
    rows = [json.loads(line) for line in lines]
    flagged = [row for row in rows if find_personal_data(f"{row['question']}\n{row['answer']}", ())]
    assert len(flagged) <= len(rows) // 500


def test_the_letters_among_the_instructions_are_found(benchmark_folder: Path) -> None:
    text = (benchmark_folder / "alpaca" / "alpaca_data_5k.jsonl").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if "Kathy Philip's contact details" in line)
    found = {finding.type for finding in find_personal_data("\n".join(map(str, json.loads(row).values())), ())}
    assert found == {"email", "phone"}
