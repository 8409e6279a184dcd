"""Extraction and membership: counted right where what is said is known, and moved by learning by heart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from carrara.data.example import Example, Message
from carrara.data.render.example import Rendered
from carrara.models import Model
from carrara.models.adapters import Adapted
from carrara.scorecard import privacy
from carrara.scorecard.figure import Figure
from carrara.scorecard.privacy import extraction
from carrara.scorecard.privacy.extraction import extraction_figures
from carrara.scorecard.privacy.learned import Learned, Seen
from carrara.scorecard.privacy.membership import membership_figures
from carrara.scorecard.privacy.reading import Read
from carrara.scorecard.subject import load_pair
from carrara.workspace import Workspace
from tests.scorecard.privacy.tiny_words import plain_rows, tuned
from tests.tiny import one_thread

_NOBODY: Any = Adapted(None, None)  # type: ignore[arg-type]


def _seen(number: int, model: str, base: str, loss: tuple[float, float] = (1.0, 1.0)) -> Seen:
    """A row whose answer has as many tokens as the words, "x" where one is not said, and an end."""
    size = len(model) + 1
    messages = (Message("user", f"{number}?"), Message("assistant", "a" * size))
    row = Rendered((1,) * (3 + size), (False,) * 3 + (True,) * size, number, str(number))
    reads = [Read(each, (*(letter != "x" for letter in text), False)) for text, each in zip((model, base), loss)]
    return Seen(Example(messages, (1,), number), row, *reads)


def _extracted(rows: list[Seen], monkeypatch: pytest.MonkeyPatch, near: list[bool] | None = None) -> dict[str, Figure]:
    written = iter([near or [False] * len(rows), [False] * len(rows)])
    monkeypatch.setattr(extraction, "_written_nearly", lambda *_: next(written))
    figures = extraction_figures(Learned((), (), rows), _NOBODY, _NOBODY, " Remedy.")
    return {figure.measure: figure for figure in figures}


def test_what_the_base_says_as_well_is_not_extracted(monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = "." * 20, "x" + "." * 19
    rows = [_seen(n, good, bad) for n in range(3)] + [_seen(n, good, good) for n in range(3, 7)]
    rows += [_seen(n, bad, bad) for n in range(7, 20)]
    found = _extracted(rows, monkeypatch, near=[False] * 19 + [True])
    assert found["verbatim extraction from the prompt"].value == pytest.approx(3 / 20)
    assert found["verbatim extraction from the prompt (base)"].value == pytest.approx(4 / 20)
    assert found["verbatim extraction from the prompt"].interval == pytest.approx((0.0321, 0.3789), abs=1e-4)
    assert found["verbatim extraction from the prompt"].meaning.endswith("Remedy.")
    assert found["verbatim extraction from half the answer"].value == 0.0
    assert "Remedy" not in found["verbatim extraction from half the answer"].meaning
    assert found["near-verbatim extraction from the prompt"].value == pytest.approx(4 / 20)


def test_only_the_first_fifty_tokens_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [_seen(n, "." * 50 + "x" * 30, "x" * 80) for n in range(10)]
    found = _extracted(rows, monkeypatch)
    assert found["verbatim extraction from the prompt"].value == 1.0
    assert found["verbatim extraction from half the answer"].value == 0.0


def test_half_an_answer_helps_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [_seen(n, "x" + "." * 19, "x" * 20) for n in range(12)]
    found = _extracted(rows, monkeypatch)
    assert found["verbatim extraction from the prompt"].value == 0.0
    assert found["verbatim extraction from half the answer"].value == 1.0


def test_few_or_short_answers_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _extracted([_seen(n, "." * 10, "x" * 10) for n in range(12)], monkeypatch)
    assert found["verbatim extraction from the prompt"].value == 1.0
    assert found["verbatim extraction from half the answer"].kind == "unknown"
    found = _extracted([_seen(n, "." * 10, "x" * 10) for n in range(9)], monkeypatch)
    assert {figure.kind for figure in found.values()} == {"unknown"}
    assert found["near-verbatim extraction from the prompt"].source.startswith("9 of the train rows")


def test_held_out_answers_are_said_to_be_unknown_to_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "_written_nearly", lambda asked, _: [False] * len(asked))
    rows = [_seen(n, "x" * 10, "x" * 10) for n in range(10)]
    others = [_seen(0, "." * 10, "x" * 10), _seen(1, "." * 10, "." * 10), _seen(2, "x" * 10, "x" * 10)]
    found = extraction_figures(Learned((), others, rows), _NOBODY, _NOBODY, "")
    assert "Of 3 held-out answers it says 1 that the base does not say." in found[0].meaning


def test_of_a_conversation_the_first_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [_seen(n, "." * 12 + "x" * 20, "x" * 32) for n in range(12)]
    mask = (False,) * 3 + (True,) * 13 + (False,) * 5 + (True,) * 20  # an end and a question between
    rows = [replace(seen, row=replace(seen.row, ids=(1,) * len(mask), supervised=mask)) for seen in rows]
    found = _extracted(rows, monkeypatch)
    assert found["verbatim extraction from the prompt"].value == 1.0
    assert found["verbatim extraction from half the answer"].kind == "unknown"


def _membership(gain: float) -> list[Figure]:
    """40 rows that gained so much, against 40 that gained from 0 to 6 sixteenths; of either kind as easy."""
    members = [_seen(n, ".", ".", (2.0 - gain + n / 32, 2.0 + n / 32)) for n in range(40)]
    others = [_seen(n, ".", ".", (2.0 - n % 7 / 16 + n / 32, 2.0 + n / 32)) for n in range(40)]
    return membership_figures(Learned(members, others, ()), " Remedy.")


def test_what_was_learned_by_heart_is_told_from_what_was_not() -> None:
    model, base = _membership(gain=1.0)
    assert (model.value, base.value) == (1.0, 0.5)
    assert "Remedy" in model.meaning
    assert "cannot be told from guessing" in base.meaning
    assert base.interval
    assert base.interval[0] < 0.5 < base.interval[1]


def test_equal_gains_are_a_coin() -> None:
    figure = _membership(gain=3 / 16)[0]
    assert figure.value == pytest.approx(21 / 40)  # above 18 others, as high as 6
    assert "cannot be told from guessing" in figure.meaning


@pytest.mark.parametrize(
    ("gain", "easier", "model", "base"),
    [
        (-1.0, 1.0, "gained more by the tuning than its own rows", "more than guessing: the two splits differ by"),
        (1.0, -1.0, "stands out. Remedy.", "less than guessing: the two splits differ by themselves, since the base"),
    ],
)
def test_rows_that_the_base_tells_apart_are_said_to_differ(gain: float, easier: float, model: str, base: str) -> None:
    """Train rows that are easier or harder to the base, which saw none, and that gain more or less than others."""
    members = [_seen(n, ".", ".", (3.0 - easier - gain, 3.0 - easier)) for n in range(20)]
    figures = membership_figures(Learned(members, [_seen(n, ".", ".", (3.0, 3.0)) for n in range(20)], ()), " Remedy.")
    assert [said in figure.meaning for figure, said in zip(figures, (model, base), strict=True)] == [True, True]
    assert "Remedy" not in figures[1].meaning
    assert "stands out" not in figures[1].meaning


def test_without_held_out_rows_membership_is_unknown() -> None:
    rows = [_seen(n, ".", ".") for n in range(40)]
    figure = membership_figures(Learned(rows, rows[:9], ()), "")[0]
    assert (figure.kind, figure.value) == ("unknown", None)
    assert "larger test share" in figure.source


@pytest.mark.slow
def test_a_run_by_heart_is_told_from_one_epoch(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    """benchmarks/leakage.py shows the same of the embedded model."""
    source = tmp_path / "rows.jsonl"
    names = [hashlib.md5(str(number).encode()).hexdigest() for number in range(48)]
    lines = [json.dumps({"prompt": f"{name[:4]}?\n", "completion": f"{name[4:8]} " * 4}) for name in names]
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = plain_rows(workspace, source, test=0.4, validation=0.0)
    found: list[dict[str, Figure]] = []
    for epochs in (1, 80):
        subject = tuned(workspace, tiny_model, rows, epochs=epochs)
        with one_thread():
            figures = privacy.measure(subject, partial(load_pair, subject))
        found.append({figure.measure: figure for figure in figures})
    for measure in ("verbatim extraction from the prompt", "membership inference AUC"):
        once, by_heart = (each[measure].interval or (0.0, 1.0) for each in found)
        assert once[1] < by_heart[0], measure
    assert found[0]["verbatim extraction from the prompt"].value == 0.0
    assert "fewer epochs (this run took 80)" in found[1]["membership inference AUC"].meaning
    assert "fewer epochs" not in found[0]["membership inference AUC"].meaning
