"""Redaction: stable placeholders, nothing else changed, nothing left to find."""

from __future__ import annotations

import json
import random
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.data.checks.personal import Redactor, find_personal_data, mask
from tests.data.checks.personal.corpus import corpus

_SENTENCES = [sentence.text for sentence in corpus(seed=77, positives=15, negatives=60)]
_PIECES = st.one_of(
    st.sampled_from(_SENTENCES),
    st.text(max_size=12),
    st.sampled_from(["<EMAIL_3>", "<PHONE>", "\\", "<", "@", " call ", "12 "]),
)


def test_the_same_value_has_the_same_placeholder_throughout_a_row() -> None:
    texts, findings = Redactor(()).redact(
        ["Bob is bob@x.com, tel. +1 212-555-0142.", "Was it BOB@x.com or al@x.com? Call +1 (212) 555 0142."]
    )
    assert texts == ["Bob is <EMAIL_1>, tel. <PHONE_1>.", "Was it <EMAIL_1> or <EMAIL_2>? Call <PHONE_1>."]
    assert [[finding.type for finding in row] for row in findings] == [["email", "phone"], ["email", "email", "phone"]]


def test_separators_of_ibans_cards_and_addresses_make_no_difference() -> None:
    row = ["DE89 3704 0044 0532 0130 00", "de89370400440532013000", "2001:db8::1", "2001:DB8:0:0:0:0:0:1"]
    assert Redactor(()).redact(row)[0] == ["<IBAN_1>", "<IBAN_1>", "<IP_1>", "<IP_1>"]


def test_numbers_go_on_after_those_already_there() -> None:
    texts, _ = Redactor(()).redact(["<EMAIL_7> wrote to bob@x.com", "<EMAIL_2>"])
    assert texts == ["<EMAIL_7> wrote to <EMAIL_8>", "<EMAIL_2>"]


def test_a_row_without_findings_is_as_it_was() -> None:
    assert Redactor(()).redact(["nothing here", ""]) == (["nothing here", ""], [[], []])


def test_json_within_a_text_stays_json() -> None:
    call = json.dumps({"to": "bob@x.com", "text": "one\nal@x.com\t+49 30 1234567", "path": "C:\\new\\bob@x.com"})
    (text,), _ = Redactor(()).redact([call])
    assert json.loads(text) == {
        "to": "<EMAIL_1>",
        "text": "one\n<EMAIL_2>\t<PHONE_1>",
        "path": "C:\\new\\<EMAIL_1>",
    }


def test_a_mask_has_no_numbers_and_no_values() -> None:
    assert mask("bob@x.com and al@x.com, card 4111 1111 1111 1111", ()) == "<EMAIL> and <EMAIL>, card <CARD>"


@given(st.lists(st.lists(_PIECES, max_size=4).map("".join), min_size=1, max_size=3))
@settings(max_examples=400, deadline=None)
def test_redacting_leaves_nothing_to_find_and_all_else_unchanged(texts: list[str]) -> None:
    redactor = Redactor(())
    redacted, findings = redactor.redact(texts)
    for before, after, found in zip(texts, redacted, findings, strict=True):
        assert find_personal_data(after, ()) == []
        assert find_personal_data(mask(before, ()), ()) == []
        kept, position = [], 0
        for finding in found:
            kept.append(re.escape(before[position : finding.start]))
            position = finding.end
        assert re.fullmatch("<[A-Z_]+_[0-9]+>".join([*kept, re.escape(before[position:])]), after)
    assert redactor.redact(redacted)[0] == redacted


def test_no_value_of_the_corpus_survives() -> None:
    rng = random.Random(3)
    for sentence in rng.sample(corpus(seed=78, positives=20, negatives=0), 200):
        ((_, start, end),) = sentence.values
        assert sentence.text[start:end] not in Redactor(()).redact([sentence.text])[0][0]
