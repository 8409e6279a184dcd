"""Two texts word by word: nothing is lost, and what is woven is one safe line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carrara.data.align import align_words, woven


@given(st.text(max_size=60), st.text(max_size=60))
def test_aligned_words_hold_all_words_in_order(before: str, after: str) -> None:
    runs = align_words(before, after)
    assert "".join(run.before for run in runs).split() == before.split()
    assert "".join(run.after for run in runs).split() == after.split()
    assert all(run.before.casefold() and run.after.casefold() for run in runs if run.alike)


def test_aligned_words_ignore_case_and_marks() -> None:
    runs = align_words("White marble, from Carrara!", "white Marble of Carrara")
    assert [(run.before, run.after, run.alike) for run in runs] == [
        ("White marble,", "white Marble", True),
        (" from", " of", False),
        (" Carrara!", " Carrara", True),
    ]


def test_woven_shows_what_changed_between_the_ends_of_what_did_not() -> None:
    assert woven("It weighs 1 tonne.", "It weighs eleven tonnes!") == "It weighs [-1 tonne.-]{+eleven tonnes!+}"
    assert woven("white", "white marble") == "white {+marble+}"
    equal = " ".join(f"stone {number}" for number in range(40))
    ends = "stone 0 stone 1 stone 2 stone 3 stone 4 … e 35 stone 36 stone 37 stone 38 stone 39"
    assert woven(f"old {equal}", f"{equal} end") == f"[-old-] {ends} {{+end+}}"


@given(st.text(max_size=60), st.text(max_size=60))
def test_woven_cannot_steer_a_terminal(before: str, after: str) -> None:
    assert woven(before, after).isprintable()
