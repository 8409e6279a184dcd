"""Benchmarks' readers: what they make of a row, and what they refuse, naming file, row, field and the way out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.tasks import BENCHMARKS
from carrara.tasks.hellaswag import read_train
from carrara.tasks.rows import write_rows
from carrara.tasks.sources import BenchmarkFile, read_items
from carrara.tasks.task import Item
from tests.tasks.rows import ARC, HELLASWAG, IFEVAL, MMLU, TRUTHFULQA, TRUTHFULQA_TABLE, WINOGRANDE, changed

ROWS = {
    "arc_easy": ARC,
    "hellaswag": HELLASWAG,
    "mmlu": MMLU,
    "winogrande": WINOGRANDE,
    "truthfulqa_mc1": TRUTHFULQA,
    "truthfulqa_mc2": TRUTHFULQA,
    "truthfulqa_gen": TRUTHFULQA_TABLE,
    "ifeval": IFEVAL,
}


def _read(folder: Path, task: str, *rows: dict[str, Any]) -> list[Item]:
    path = folder / Path(BENCHMARKS[task].file).name
    write_rows(path, rows)
    return read_items(task, BenchmarkFile(path, "", "folder"), BENCHMARKS[task].read)


def test_arc_takes_letters_and_digits_as_keys(tmp_path: Path) -> None:
    digits = ARC | {"choices": {"text": ["this", "that"], "label": ["1", "2"]}, "answerKey": "1"}
    first, second = _read(tmp_path, "arc_easy", ARC, digits)
    assert (first.context, first.gold, first.question) == ("Question: Which is right?\nAnswer:", 1, "Which is right?")
    assert (second.position, second.gold, second.choices) == (1, 0, ("this", "that"))


def test_hellaswag_joins_its_fields_and_knows_the_source(tmp_path: Path) -> None:
    first, second = _read(tmp_path, "hellaswag", HELLASWAG, changed(HELLASWAG | {"label": "0"}, "source_id", None))
    assert (first.context, first.gold) == ("Roof: A man sits. He", 3)
    assert (first.question, first.cluster) == ("A man sits. He", "activitynet~v_1")
    assert (second.gold, second.cluster, second.id) == (0, "", "1")


def test_mmlu_asks_for_a_letter(tmp_path: Path) -> None:
    first, second, third = _read(tmp_path, "mmlu", MMLU | {"question": " Why?\n"}, MMLU | {"subject": "law"}, MMLU)
    assert first.context == "Why?\nA. a\nB. b\nC. c\nD. d\nAnswer:"
    assert (first.choices, first.gold, first.category) == (("A", "B", "C", "D"), 1, "world_religions")
    assert (first.question, first.answers) == ("Why?", ("a", "b", "c", "d"))
    assert [item.id for item in (first, second, third)] == ["world_religions/0", "law/0", "world_religions/1"]
    assert first.as_shot() == "Why?\nA. a\nB. b\nC. c\nD. d\nAnswer: B"


def test_winogrande_scores_the_rest_behind_each_word(tmp_path: Path) -> None:
    first, second = _read(tmp_path, "winogrande", WINOGRANDE, WINOGRANDE | {"sentence": "_'s here_ now. ", "answer": 1})
    assert (first.context, first.stems, first.choices) == (
        "Ann thanked Bea since ", ("Ann", "Bea"), ("had helped.", "had helped."),
    )  # fmt: skip
    assert (first.gold, first.answers) == (1, ("Ann", "Bea"))
    assert first.as_shot() == "Ann thanked Bea since Bea had helped."
    assert (second.context, second.stem(0), second.choices[0], second.gold) == ("", "Ann", "'s here_ now.", 0)
    assert second.as_shot() == "Ann 's here_ now."  # the harness puts a space there too


def test_truthfulqa_keeps_every_label(tmp_path: Path) -> None:
    (one,) = _read(tmp_path, "truthfulqa_mc1", TRUTHFULQA)
    (many,) = _read(tmp_path, "truthfulqa_mc2", TRUTHFULQA)
    assert (one.context, one.choices, one.gold, one.labels) == ("Q: Is it?\nA:", ("Yes.", "No."), 0, (1, 0))
    assert (many.labels, many.question) == ((1, 0, 1), "Is it?")


def test_truthfulqas_table_has_every_answer_as_a_sentence(tmp_path: Path) -> None:
    one, other = _read(tmp_path, "truthfulqa_gen", TRUTHFULQA_TABLE, changed(TRUTHFULQA_TABLE, "Question", " Why? "))
    assert (one.context, other.context, other.question) == ("Q: Is it?", "Q: Why?", "Why?")
    assert one.choices == ("Yes.", "Surely.", "I have no comment.", "No.")
    assert (one.labels, one.category, one.cluster) == ((1, 1, 1, 0), "Law", "https://a")


def test_ifeval_keeps_what_is_to_be_checked(tmp_path: Path) -> None:
    (item,) = _read(tmp_path, "ifeval", IFEVAL)
    assert (item.id, item.context, item.choices) == ("1000", "Write about it.", ())
    assert [(each.kind, each.settings) for each in item.instructions] == [
        ("punctuation:no_comma", {}),
        ("length_constraints:number_words", {"relation": "at least", "num_words": 3}),
    ]


@pytest.mark.parametrize(
    ("task", "field", "value", "sentence"),
    [
        ("arc_easy", "answerKey", "D", "field answerKey: 'D' is none of the labels A, B, C"),
        ("arc_easy", "answerKey", None, "field answerKey: it is missing"),
        ("arc_easy", "choices.label", ["A", "B", "C", "D"], "field choices.label: each of the 3 choices must have one"),
        ("arc_easy", "choices.label", ["A", "B", "B"], "field choices.label: each of the 3 choices must have one"),
        ("arc_easy", "choices.text", ["this"], "field choices.text: there must be two choices or more"),
        ("arc_easy", "choices.text", ["this", "that", " "], "field choices.text: choice 3 is blank"),
        ("arc_easy", "choices", ["this"], "field choices: it is a list, not an object"),
        ("arc_easy", "question", " ", "field question: it is blank"),
        ("arc_easy", "id", 3, "field id: there is a number where a text should be"),
        ("hellaswag", "label", -1, "field label: -1 names none of the 4 choices"),
        ("hellaswag", "label", 7, "field label: 7 names none of the 4 choices"),
        ("hellaswag", "label", "", "field label: '' is no whole number"),
        ("hellaswag", "endings", ["a", "[step]"], "field endings: choice 2 is blank"),
        ("hellaswag", "ctx_b", None, "field ctx_b: it is missing"),
        ("hellaswag", "source_id", 3, "field source_id: there is a number"),
        ("mmlu", "choices", ["a", "b", "c"], "field choices: there must be 4, and there are 3"),
        ("mmlu", "answer", 4, "field answer: 4 names none of the 4 choices"),
        ("mmlu", "subject", "", "field subject: it is blank"),
        ("winogrande", "answer", "", "field answer: '' is no whole number"),
        ("winogrande", "answer", 0, "field answer: 0 names none of the 2 choices, 1 to 2"),
        ("winogrande", "sentence", "No gap.", "field sentence: it has no gap"),
        ("winogrande", "sentence", "Nothing behind _ ", "field sentence: nothing stands behind its gap"),
        ("winogrande", "option2", " ", "field option2: it is blank"),
        ("truthfulqa_mc1", "mc1_targets", {"Yes.": 0, "No.": 0}, "field mc1_targets: its answers must be 1 for true"),
        ("truthfulqa_mc1", "mc1_targets", {"Yes.": 1, "No.": 1}, "field mc1_targets: one answer must be true, and 2"),
        ("truthfulqa_mc2", "mc2_targets", {"Yes.": 1}, "field mc2_targets: there must be two choices or more"),
        ("truthfulqa_mc2", "mc2_targets", {"Yes.": 1, "No.": 2}, "field mc2_targets: its answers must be 1 for true"),
        ("truthfulqa_mc2", "mc2_targets", {"Yes.": 1, " ": 0}, "field mc2_targets: choice 2 is blank"),
        ("truthfulqa_mc2", "mc2_targets", {"Yes.": 1, "No.": "x"}, "field mc2_targets.No.: 'x' is no whole number"),
        ("truthfulqa_mc2", "question", 3, "field question: there is a number"),
        ("ifeval", "prompt", " ", "field prompt: it is blank"),
        ("ifeval", "key", "x", "field key: 'x' is no whole number"),
        ("ifeval", "instruction_id_list", [], "field instruction_id_list: it names no instruction"),
        ("ifeval", "kwargs", [{}], "field kwargs: there must be an object for each of the 2 instructions"),
        ("ifeval", "kwargs", [{}, None], "field kwargs: there must be an object for each of the 2 instructions"),
        ("ifeval", "kwargs", None, "field kwargs: there must be an object for each of the 2 instructions"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, task: str, field: str, value: object, sentence: str) -> None:
    good = ROWS[task]
    with pytest.raises(Refusal, match=re.escape(f"is not in the form that {task} has: row 2, {sentence}")) as refused:
        _read(tmp_path, task, good, changed(good, field, value), good)
    assert str(refused.value).startswith(str(tmp_path / Path(BENCHMARKS[task].file).name))
    assert str(refused.value).endswith("; correct it there, or fetch the file again.")


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("Question", " ", "field Question: it is blank"),
        ("Correct Answers", "", "field Correct Answers: it is blank"),
        ("Incorrect Answers", " ; ", "field Incorrect Answers: it names no answer"),
    ],
)
def test_a_question_without_answers_is_named(tmp_path: Path, field: str, value: str, sentence: str) -> None:
    with pytest.raises(
        Refusal, match=rf"TruthfulQA\.csv is not in the form that truthfulqa_gen has: row 3, {sentence}"
    ):
        _read(tmp_path, "truthfulqa_gen", TRUTHFULQA_TABLE, changed(TRUTHFULQA_TABLE, field, value))


def test_a_column_that_is_missing_or_a_row_that_is_torn_is_named(tmp_path: Path) -> None:
    path = tmp_path / "TruthfulQA.csv"
    for text, sentence in (
        ("Question,Source\nIs it?,x\n", "row 2, field Correct Answers: it is missing"),
        (
            "Question,Correct Answers,Incorrect Answers\nIs it?,Yes\n",
            "row 2, field Incorrect Answers: there is nothing",
        ),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=sentence):
            BENCHMARKS["truthfulqa_gen"].read(path)


def test_the_real_prompts_to_write_for(benchmark_folder: Path) -> None:
    questions = BENCHMARKS["truthfulqa_gen"].read(benchmark_folder / BENCHMARKS["truthfulqa_gen"].file)
    assert (len(questions), len({item.category for item in questions})) == (817, 38)
    assert all("I have no comment." in item.choices and 0 in item.labels for item in questions)
    prompts = BENCHMARKS["ifeval"].read(benchmark_folder / BENCHMARKS["ifeval"].file)
    kinds = [instruction.kind for item in prompts for instruction in item.instructions]
    assert (len(prompts), len(kinds), len(set(kinds))) == (541, 834, 25)


def test_hellaswags_train_rows_are_checked_too(tmp_path: Path) -> None:
    row = {"query": "Roof: A man sits. He", "choices": ["a", "b"], "gold": 1}
    path = tmp_path / "train.jsonl.gz"
    write_rows(path, [row])
    assert [(item.context, item.choices, item.gold) for item in read_train(path)] == [(row["query"], ("a", "b"), 1)]
    write_rows(path, [row, row | {"gold": 2}])
    with pytest.raises(ValueError, match="row 2, field gold: 2 names none of the 2 choices"):
        read_train(path)


def test_the_real_hellaswag_has_its_clusters(benchmark_folder: Path) -> None:
    task = BENCHMARKS["hellaswag"]
    items = task.read(benchmark_folder / task.file)
    assert len({item.cluster for item in items}) == 8407
    assert items[0].cluster == "activitynet~v_-JhWjGDPHMY"
