"""What is said of a bad row can be printed anywhere, whatever the row holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carrara.data.read.bad import BadRow, named

ANY = st.text(st.characters(), max_size=300)  # halves of characters too


@given(ANY, ANY, ANY)
def test_a_sentence_is_one_printable_line(file: str, field: str, reason: str) -> None:
    sentence = BadRow(file, 3, field, reason, "").sentence
    assert sentence.isprintable()
    assert ", row 3" in sentence


def test_names_cannot_steer_a_terminal() -> None:
    assert named("a\x1b[31mred\u202e\tb") == "a [31mred b"
    assert named("half \ud83d") == "half ?"
    assert len(named("x" * 500)) == 100
    bad = BadRow("rows\x1b[2J.jsonl", 3, "a\nb", "is a second list, '\x1b]0;x\x07'", "")
    assert bad.sentence == "rows [2J.jsonl, row 3, field 'a b': is a second list, ' ]0;x '"
