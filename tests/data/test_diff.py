"""From one version of a dataset to the next: every row is accounted for, in both directions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.data.diff import Diff, diff_examples, key_of
from carrara.data.example import Example, Message

Version = list[tuple[str, Example]]


def pair(prompt: str, answer: str, row: int = 1, label: str | None = None) -> Example:
    return Example((Message("user", prompt), Message("assistant", answer)), (1,), row, "pairs.jsonl", label)


def document(text: str) -> Example:
    return Example((Message("assistant", text),), (0,), 1, "text.md")


def train(*examples: Example) -> Version:
    return [("train", example) for example in examples]


def counts(diff: Diff) -> tuple[int, ...]:
    return diff.same, len(diff.moved), len(diff.changed), len(diff.removed), len(diff.added)


WORDS = st.lists(st.sampled_from(["white", "marble", "block", "hard", "soft"]), max_size=5).map(" ".join)
EXAMPLES = st.one_of(
    st.builds(pair, WORDS, WORDS, st.integers(1, 9), st.sampled_from([None, "a", "b"])), WORDS.map(document)
)
VERSIONS = st.lists(st.tuples(st.sampled_from(["train", "validation", "test"]), EXAMPLES), max_size=12)


@given(VERSIONS)
def test_nothing_differs_from_itself(version: Version) -> None:
    assert counts(diff_examples(version, list(reversed(version)))) == (len(version), 0, 0, 0, 0)


@given(VERSIONS, VERSIONS)
def test_every_row_is_accounted_for(before: Version, after: Version) -> None:
    same, moved, changed, removed, added = counts(diff_examples(before, after))
    assert len(before) == same + moved + changed + removed
    assert len(after) == same + moved + changed + added


@given(VERSIONS, VERSIONS)
def test_both_directions_agree(before: Version, after: Version) -> None:
    there, back = diff_examples(before, after), diff_examples(after, before)

    def keys(rows: Sequence[object]) -> Counter[tuple[str, str]]:
        return Counter((row.split, key_of(row.example)) for row in rows)  # pyright: ignore

    assert counts(there)[:3] == counts(back)[:3]
    assert Counter(key for _, key in keys(there.added).elements()) == Counter(
        key for _, key in keys(back.removed).elements()
    )
    assert Counter(key for _, key in keys(there.removed).elements()) == Counter(
        key for _, key in keys(back.added).elements()
    )
    pairs = Counter((key_of(each.before.example), key_of(each.after.example)) for each in there.changed)
    assert pairs == Counter((key_of(each.after.example), key_of(each.before.example)) for each in back.changed)


def test_another_answer_to_the_same_prompt_is_a_change() -> None:
    diff = diff_examples(train(pair("Is it hard?", "Yes.")), train(pair("Is it hard?", "Marble scratches easily.")))
    assert counts(diff) == (0, 0, 1, 0, 0)
    assert diff.changed[0].share == pytest.approx(3 / 7)


def test_another_label_is_a_change() -> None:
    diff = diff_examples(train(pair("good stone", "x", label="a")), train(pair("good stone", "x", label="b")))
    assert counts(diff) == (0, 0, 1, 0, 0)
    assert diff.changed[0].share == 1


@pytest.mark.parametrize(("words", "changed"), [("a b c d e f", 1), ("a b c d x y z w", 0), ("a b c d x y", 1)])
def test_half_of_the_words_make_a_change(words: str, changed: int) -> None:
    diff = diff_examples(train(document("a b c d e f")), train(document(f"{words} ")))
    assert counts(diff) == (0, 0, changed, 1 - changed, 1 - changed)


def test_the_likest_are_paired() -> None:
    before = train(document("a b c d e f g h"), document("a b c d e f x y"))
    after = train(document("a b c d e f x z"), document("a b c d e f g i"))
    got = {(c.before.example.answer[-1], c.after.example.answer[-1]) for c in diff_examples(before, after).changed}
    assert got == {("h", "i"), ("y", "z")}


def test_documents_have_no_prompt_to_share() -> None:
    assert counts(diff_examples(train(document("a b c")), train(document("x y z")))) == (0, 0, 0, 1, 1)


def test_another_split_is_a_move() -> None:
    first, second = pair("p", "a", row=4), pair("q", "b")
    diff = diff_examples([("train", first), ("train", second)], [("test", first), ("train", second)])
    assert counts(diff) == (1, 1, 0, 0, 0)
    assert (diff.moved[0].row, diff.moved[0].before, diff.moved[0].after) == (4, "train", "test")


def test_one_of_two_copies_goes() -> None:
    twice = pair("p", "a")
    assert counts(diff_examples(train(twice, twice), [("test", twice)])) == (0, 1, 0, 1, 0)


def test_real_rows_edited_are_found_again(benchmark_folder: Path) -> None:
    lines = (benchmark_folder / "alpaca" / "alpaca_data_5k.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(text) for text in lines[:1200]]
    examples = [
        pair(f"{row['instruction']}\n{row['input']}", row["output"], number) for number, row in enumerate(rows, 1)
    ]
    edited = [pair(e.context, f"{e.answer} Ask again.", e.row) for e in examples[100:150]]
    reworded = [pair(f"Please: {e.context}", e.answer, e.row) for e in examples[150:200] if len(e.answer.split()) > 9]
    after = [*examples[200:1100], *edited, *reworded]
    diff = diff_examples(train(*examples[:1100]), [*train(*after), ("test", examples[1150])])
    assert diff.same == 900
    assert len(diff.changed) >= 50 + len(reworded)
    by_row = {each.before.example.row: each.after.example.row for each in diff.changed}
    assert all(by_row[example.row] == example.row for example in [*edited, *reworded])
