"""Contamination: questions are found whole and lightly edited, and rows that merely sound alike are left alone."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.data.checks.contamination import Matcher, near_copies, words_of
from carrara.progress import Silent
from carrara.tasks.questions import Question, questions_of
from carrara.workspace import Workspace

RIVER = "Which of the following rivers carries the most water to the sea, measured at its mouth in a year?"
QUESTIONS = [
    Question("geo", "river", RIVER, ("The Amazon", "The Congo", "The Volga", "The Danube"), 0),
    Question("geo", "peak", "Who first climbed the Matterhorn?", ("Whymper", "Croz", "Carrel", "Tyndall"), 0),
    Question("geo", "stone", "Marble is quarried chiefly near", ("Carrara", "Siena", "Pisa", "Lucca"), 0),
    Question("geo", "true-1", "Which of the following is true?", ("Lakes never freeze over", "Deltas grow slowly"), 1),
    Question("geo", "true-2", "Which of the following is true?", ("Geysers erupt with steam", "Dunes stand still"), 0),
]
MATCHER = Matcher(QUESTIONS)


def _found(*texts: str, matcher: Matcher = MATCHER) -> list[tuple[str, str]]:
    return [(hit.item, hit.how) for hit in matcher.hits(texts)]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ((RIVER, "The Amazon"), [("river", "verbatim")]),
        ((f"Here is one for you: {RIVER} Think well.",), [("river", "verbatim")]),
        ((RIVER.replace("sea", "ocean").replace("carries", "brings"),), [("river", "near")]),
        ((RIVER.replace("the most ", ""), "The Amazon"), [("river", "near")]),
        (("Question: Who first climbed the Matterhorn?\nAnswer:", "Whymper"), [("peak", "verbatim")]),
        (("Who first climbed the Eiger?", "Barrington"), []),
        (("marble is quarried, chiefly, near", "Carrara"), [("stone", "verbatim")]),
        (("Which of the rivers in this story is the longest, and why?",), []),
        (("The most water of the year goes to the sea at the mouth of the following rivers.",), []),
        (("", "   ", "!?"), []),
    ],
)
def test_rows_hold_what_they_hold(texts: tuple[str, ...], found: list[tuple[str, str]]) -> None:
    assert _found(*texts) == found


def test_the_answers_tell_which_of_two_equal_questions_it_is() -> None:
    assert _found("Which of the following is true?\nA) Geysers erupt with steam\nB) Dunes stand still", "A") == [
        ("true-2", "verbatim")
    ]
    assert [item for item, _ in _found("Which of the following is true?")] == ["true-1", "true-2"]


def test_a_generic_question_does_not_flag_rows_that_ask_it_of_something_else() -> None:
    openings = ["Which of the following is true?", "Which of the following statements is correct?"]
    subjects = [f"{a} {b}" for a in ("glacier", "canal", "harbour", "island") for b in ("ice", "salt", "wind", "sand")]
    questions = [
        Question("geo", f"{number}-{subject}", opening, (f"{subject} is old", f"{subject} is new"), 0)
        for number, opening in enumerate(openings)
        for subject in subjects
    ]
    specific = [Question("geo", subject, f"Which of the following is true of {subject} in {subject}land?")
                for subject in subjects]  # fmt: skip
    matcher = Matcher([*questions, *specific])
    row = ("Which of the following is true?\nA) Cats bark\nB) Dogs bark loudly at strangers\nAnswer:", "B")
    assert _found(*row, matcher=matcher) == []
    leak = ("Which of the following is true?\nA) canal salt is old\nB) canal salt is new\nAnswer:", "A")
    assert _found(*leak, matcher=matcher) == [("0-canal salt", "verbatim")]


def test_an_instruction_before_every_prompt_counts_nothing() -> None:
    instruction = "Read the following complaint of a customer and say in one word which department must answer it: "
    things = ["kettle", "lamp", "radio", "chair", "blanket"]
    faults = ["broke", "leaked", "burned", "rusted", "stopped", "cracked", "faded"]
    complaints = [f"after {n} days my {things[n % 5]} {faults[n % 7]} and nobody in shop {n} cares" for n in range(35)]
    questions = [Question("test", str(n), instruction + text, ("sales",), 0) for n, text in enumerate(complaints)]
    matcher = Matcher(questions)
    other = "an invoice that reached us shows a discount which was never promised"
    assert _found(instruction + other, "billing", matcher=matcher) == []
    found = _found(instruction + complaints[7], "sales", matcher=matcher)
    assert [item for item, how in found if how == "verbatim"] == ["7"]


def test_a_matcher_over_nothing_is_impossible() -> None:
    for questions in ([], [Question("geo", "empty", " ?! ", ("yes",), 0)]):
        with pytest.raises(ValueError, match="needs questions"):
            Matcher(questions)


def test_near_copies_names_the_questions_that_rows_hold() -> None:
    rows = [["Who first climbed the Matterhorn?", "Whymper"], ["nothing here"], [RIVER.upper()]]
    assert near_copies(QUESTIONS, rows) == {"peak", "river"}


def test_words_are_the_same_in_every_writing() -> None:
    assert words_of("Ｆｕｌｌ–width ﬁ, STRASSE_7") == words_of("full width fi straße 7")
    assert words_of("大理石は白い") == list("大理石は白い")


@settings(max_examples=150, deadline=None)
@given(before=st.text(max_size=200), after=st.text(max_size=200), question=st.sampled_from(QUESTIONS[:3]))
def test_a_verbatim_question_is_found_whatever_surrounds_it(before: str, after: str, question: Question) -> None:
    assert (question.id, "verbatim") in _found(f"{before}\n{question.text} {after}", before)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), question=st.sampled_from(QUESTIONS[:3]))
def test_case_and_punctuation_never_matter(data: st.DataObject, question: Question) -> None:
    marks = st.text("., ;:!?-\"'()\n\t*_#", min_size=1, max_size=4)
    change = st.sampled_from([str.upper, str.lower, str.title, str.swapcase])
    words = [data.draw(change)(word) + data.draw(marks) for word in words_of(question.text)]
    assert (question.id, "verbatim") in _found("".join(words))


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=12))
def test_any_question_with_words_is_found_as_a_row_of_its_own(texts: list[str]) -> None:
    questions = [Question("any", str(number), text) for number, text in enumerate(texts)]
    if not any(map(words_of, texts)):
        return
    matcher = Matcher(questions)
    for question in questions:
        if words_of(question.text):
            assert question.id in {hit.item for hit in matcher.hits([question.text])}


# ---- real questions and rows ----


@pytest.fixture(scope="module")
def real(benchmark_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Question]:
    workspace = Workspace(tmp_path_factory.mktemp("contamination"))
    names = ["arc", "hellaswag", "truthfulqa"]
    return [q for each in questions_of(workspace, names, benchmark_folder, Silent()) for q in each.questions]


@pytest.fixture(scope="module")
def real_matcher(real: list[Question]) -> Matcher:
    return Matcher(real)


def _plant(question: Question, edit: str, draw: random.Random) -> list[str]:
    """The question with its choices, as it is or with one word in ten changed, and one of a question of five."""

    def edited(text: str) -> str:
        if edit == "case":
            return text.swapcase()
        if edit == "punctuation":
            return re.sub(r"[.,;:!?\"()]", " ", text) + " ..."
        words = text.split()
        count = max(round(len(words) / 10), text == question.text and len(words) >= 5)
        for place in draw.sample(range(len(words)), count if edit == "words" else 0):
            words[place] = "changed"
        return " ".join(words)

    choices = list(question.answers)
    if edit == "order":
        draw.shuffle(choices)
    lines = [f"{letter}) {edited(choice)}" for letter, choice in zip("ABCDEFGHIJKLMNOP", choices)]
    return ["\n".join([f"Question: {edited(question.text)}", *lines, "Answer:"]), "A"]


@pytest.mark.slow
def test_real_plants_are_found(real: list[Question], real_matcher: Matcher) -> None:
    draw = random.Random(0)
    short = [question for question in real if len(words_of(question.text)) < 8]
    assert len(short) == 453
    for questions, lowest in ((draw.sample(real, 500), 0.99), (short, 0.95)):
        for edit in ("verbatim", "case", "punctuation", "words", "order"):
            found = sum(
                question.id in {hit.item for hit in real_matcher.hits(_plant(question, edit, draw))}
                for question in questions
            )
            assert found >= (lowest if edit == "words" else 1.0) * len(questions), (edit, found)
    for question in draw.sample(real, 500):  # and with the right answer alone, in a prompt and its completion
        row = [question.text, question.answers[question.gold or 0]]
        assert question.id in {hit.item for hit in real_matcher.hits(row)}, question


@pytest.mark.slow
def test_clean_rows_are_not_flagged(real_matcher: Matcher, benchmark_folder: Path) -> None:
    def rows(name: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (benchmark_folder / name).open(encoding="utf-8")]

    sums = [[row["question"], row["answer"]] for row in rows("gsm8k/train.jsonl")]
    tasks = [[row["instruction"], row["input"], row["output"]] for row in rows("alpaca/alpaca_data_5k.jsonl")]
    assert sum(bool(real_matcher.hits(row)) for row in sums) == 0
    assert sum(bool(real_matcher.hits(row)) for row in tasks) <= 5  # such as "Who is the president?"


@pytest.mark.slow
def test_arc_train_holds_questions_of_arc_test(real: list[Question], benchmark_folder: Path) -> None:
    test = [question for question in real if question.benchmark == "arc_easy"]
    lines = (benchmark_folder / "arc" / "ARC-Easy" / "train.jsonl").read_text(encoding="utf-8").split("\n")
    train = [[json.loads(line)["question"]] for line in lines if line]
    assert len(train) == 2251
    assert 0 < len(near_copies(test, train)) < 100
