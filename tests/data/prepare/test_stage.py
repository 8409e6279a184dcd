"""Preparing: every row is accounted for, whatever the file; duplicates, leaks and personal data go where they must."""

from __future__ import annotations

import json
from collections import Counter
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.data.checks.minhash import jaccard
from carrara.data.checks.personal import load_plugins, plugins
from carrara.data.dataset import CHANGES, CHECKS, QUARANTINE, SPLITS, Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.errors import Refusal
from carrara.progress import Silent
from carrara.recipe import PrepareRecipe, Recipe, make_recipe
from carrara.workspace import Workspace
from tests.tiny import prepared, write_pairs

WORDS = tuple("amber basil cedar delta ember fjord grove heron ivory jetty karst larch maple nylon ochre".split())  # noqa: SIM905


def write(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def story(number: int, length: int = 40) -> str:
    """Words that no other number shares in any order of three."""
    return " ".join(f"{WORDS[(number * 7 + place * place) % len(WORDS)]}{number}x{place}" for place in range(length))


def lines_of(dataset: Dataset, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (dataset.artefact.path / name).read_text(encoding="utf-8").splitlines()]


def fates(dataset: Dataset) -> Counter[int]:
    """How often each row of the source is found among the splits and in quarantine together."""
    found = Counter(example.row for split in SPLITS for example in dataset.each(split))
    found.update(row["row"] for row in lines_of(dataset, QUARANTINE))
    return found


def require_sum(dataset: Dataset) -> dict[str, Any]:
    rows = dataset.checks["rows"]
    assert rows["read"] == rows["kept"] + rows["quarantined"]
    assert rows["quarantined"] == rows["unusable"] + sum(rows["dropped"].values())
    assert rows["kept"] == sum(dataset.artefact.summary["splits"].values())
    assert len(lines_of(dataset, QUARANTINE)) == rows["read"] - rows["kept"]
    return rows


row_texts = st.sampled_from(["", " ", "same", "Mail a@example.org", "two words", *WORDS]) | st.text(max_size=30)
any_row = st.one_of(
    st.builds(lambda p, c: json.dumps({"prompt": p, "completion": c}), row_texts, row_texts),
    st.builds(lambda p, c: json.dumps({"instruction": p, "output": c}), row_texts, row_texts),
    st.sampled_from(["{oops", "[]", "null", "", "{}", '{"prompt": NaN, "completion": "x"}', '{"messages": [1]}']),
)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(any_row, max_size=25),
    drop=st.sampled_from(["none", "exact", "near"]),
    personal=st.sampled_from(["report", "redact", "drop"]),
)
def test_every_row_read_is_kept_or_named_in_quarantine_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], drop: str, personal: str
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    sound = [{"prompt": story(number), "completion": story(50 + number)} for number in range(25)]  # decide the shape
    path = write(folder / "rows.jsonl", [*sound, *rows])
    recipe = PrepareRecipe.model_validate(
        {"drop_duplicates": drop, "personal_data": personal, "test": 0, "validation": 0, "contamination": "drop"}
    )
    dataset = prepared(Workspace(folder / "workspace"), path, recipe)
    require_sum(dataset)
    expected = [number for number, row in enumerate(rows, start=26) if row.strip()]
    assert fates(dataset) == Counter([*range(1, 26), *expected])


def test_copies_are_counted_dropped_and_named(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": story(n), "completion": story(100 + n)} for n in range(60)]
    edited = [{"prompt": row["prompt"].replace("x3 ", "zz "), "completion": row["completion"]} for row in rows[:12]]
    path = write(tmp_path / "rows.jsonl", [*rows, *rows[:9], *edited])
    kept = prepared(workspace, path)
    assert {key: kept.artefact.summary["duplicates"][key] for key in ("exact", "near")} == {"exact": 9, "near": 12}
    assert require_sum(kept)["dropped"]["exact_duplicate"] == 9
    reasons = [row["reason"] for row in lines_of(kept, QUARANTINE)]
    assert reasons[0] == "repeats rows.jsonl, row 1"
    side = {example.row: split for split in SPLITS for example in kept.each(split)}
    assert all(side[n + 1] == side[70 + n] for n in range(12))
    neither = prepared(workspace, path, PrepareRecipe(drop_duplicates="near"))
    assert require_sum(neither)["dropped"] == {"personal_data": 0, "contaminated": 0, "exact_duplicate": 9,
                                               "near_duplicate": 12}  # fmt: skip
    assert require_sum(prepared(workspace, path, PrepareRecipe(drop_duplicates="none")))["kept"] == 81


def test_prompts_with_several_answers_are_conflicts_on_one_side(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": story(n), "completion": story(100 + n)} for n in range(80)]
    rows += [{"prompt": story(n).upper(), "completion": story(200 + n)} for n in range(15)]
    dataset = prepared(workspace, write(tmp_path / "rows.jsonl", rows))
    assert dataset.artefact.summary["duplicates"]["conflicting"] == 15
    side = {example.row: split for split in SPLITS for example in dataset.each(split)}
    assert all(side[n + 1] == side[81 + n] for n in range(15))
    conflict = dataset.checks["duplicates"]["conflicts"][0]
    assert [answer["row"] for answer in conflict["answers"]] == [1, 81]


def test_a_prompt_that_all_rows_share_does_not_bind_them(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": "Write a story.", "completion": story(n)} for n in range(100)]
    splits = prepared(workspace, write(tmp_path / "rows.jsonl", rows)).artefact.summary["splits"]
    assert min(splits.values()) > 0


def test_a_group_is_on_one_side_and_its_name_is_not_kept(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": story(n), "completion": "yes", "customer": f"ann{n % 20}@example.org"} for n in range(200)]
    dataset = prepared(workspace, write(tmp_path / "rows.jsonl", rows), PrepareRecipe(group="customer"))
    sides = [{example.group for example in dataset.each(split)} for split in SPLITS]
    assert [len(side) for side in sides] == [20 - len(sides[1]) - len(sides[2]), len(sides[1]), len(sides[2])]
    assert sum(len(side) for side in sides) == 20
    assert "example.org" not in (dataset.artefact.path / "train.jsonl").read_text()
    assert dataset.checks["groups"] == 20


def test_personal_data_is_reported_redacted_or_dropped(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": story(n), "completion": story(500 + n)} for n in range(30)]
    rows[4] = {"prompt": "Who is ann@example.org? Is it Ann@example.org?", "completion": "ann@example.org, of course"}
    path = write(tmp_path / "rows.jsonl", rows)
    plain = {"test": 0, "validation": 0}
    reported = prepared(workspace, path, PrepareRecipe.model_validate(plain))
    assert reported.artefact.summary["personal_data"] == {"email": 3}
    assert "ann@example.org" not in json.dumps(reported.checks)
    redacted = prepared(workspace, path, PrepareRecipe.model_validate({**plain, "personal_data": "redact"}))
    assert require_sum(redacted)["changed"] == 1
    assert redacted.examples("train")[4].messages[0].content == "Who is <EMAIL_1>? Is it <EMAIL_1>?"
    changes = [(row["row"], row["field"], row["reason"]) for row in lines_of(redacted, CHANGES)]
    assert changes == [
        (5, "prompt", "2 of email became placeholders"),
        (5, "completion", "1 of email became placeholders"),
    ]
    dropped = prepared(workspace, path, PrepareRecipe.model_validate({**plain, "personal_data": "drop"}))
    assert require_sum(dropped)["dropped"]["personal_data"] == 1
    (row,) = lines_of(dropped, QUARANTINE)
    assert row["reason"] == "holds personal data: email"
    assert "ann@example.org" not in row["text"]


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    """A folder with a small ARC-Easy, and rows of which two hold its questions."""
    questions = [f"Which {word} do {other}s prefer in the {n}th winter of the long survey?"
                 for n, (word, other) in enumerate(zip(WORDS, reversed(WORDS), strict=True))]  # fmt: skip
    choices = {"text": ["one", "two"], "label": ["A", "B"]}
    folder = tmp_path / "benchmarks" / "arc" / "ARC-Easy"
    folder.mkdir(parents=True)
    write(folder / "test.jsonl", [
        {"id": f"q{n}", "question": question, "choices": choices, "answerKey": "A"}
        for n, question in enumerate(questions)
    ])  # fmt: skip
    rows = [{"prompt": story(n), "completion": story(500 + n)} for n in range(60)]
    rows[10] = {"prompt": questions[3], "completion": "one"}
    rows[20] = {"prompt": questions[5].upper().replace("?", ""), "completion": "two"}
    return tmp_path / "benchmarks", rows


def test_questions_of_a_named_benchmark_are_refused_dropped_or_reported(
    workspace: Workspace, tmp_path: Path, judged: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, rows = judged
    path = write(tmp_path / "rows.jsonl", rows)

    def recipe(**options: Any) -> Recipe:
        evaluate = {"tasks": ["arc_easy", "heldout"], "benchmarks": str(folder)}
        return make_recipe({"data": str(path), "evaluate": evaluate, "prepare": options})

    with pytest.raises(Refusal, match=r"2 rows hold questions of arc_easy.*rows\.jsonl, row 11 and item q3") as refused:
        prepare_dataset(workspace, recipe(), Silent())
    listing = Path(str(refused.value).split("; ")[1].split(" lists")[0])
    assert [json.loads(line)["item"] for line in listing.read_text().splitlines()] == ["q3", "q5"]
    dropped = prepare_dataset(workspace, recipe(contamination="drop"), Silent())
    assert require_sum(dropped)["dropped"]["contaminated"] == 2
    assert dropped.artefact.summary["contaminated"]["arc_easy"] == 2
    kept = prepare_dataset(workspace, recipe(contamination="report"), Silent())
    assert require_sum(kept)["kept"] == 60
    hits = kept.checks["contamination"]["hits"]
    assert [(hit["item"], hit["row"], hit["how"], hit["action"]) for hit in hits if hit["benchmark"] == "arc_easy"] == [
        ("q3", 11, "verbatim", "kept"),
        ("q5", 21, "verbatim", "kept"),
    ]


def test_a_named_benchmark_that_cannot_be_had_is_a_refusal(workspace: Workspace, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "rows.jsonl")
    recipe = make_recipe({"data": str(path), "evaluate": {"tasks": ["arc_easy"], "benchmarks": str(tmp_path)}})
    with pytest.raises(Refusal, match=r"has no arc/ARC-Easy/test\.jsonl"):
        prepare_dataset(workspace, recipe, Silent())
    with pytest.raises(Refusal, match="no benchmark 'arcc'"):
        prepare_dataset(workspace, make_recipe({"data": str(path), "prepare": {"against": ["arcc"]}}), Silent())


def test_a_label_column_of_too_many_values_does_not_stratify(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"text": story(n), "label": f"label {n}"} for n in range(400)]
    dataset = prepared(workspace, write(tmp_path / "rows.jsonl", rows))
    labels = dataset.checks["labels"]
    assert list(labels) == ["400 values, too many to be classes"]


@pytest.mark.slow
def test_what_a_killed_run_left_is_not_done_again(workspace: Workspace, tmp_path: Path, monkeypatch: Any) -> None:
    from carrara.data.prepare import chunks, stage

    rows = [{"prompt": story(n, 12), "completion": f"{n}"} for n in range(3500)]  # four chunks, two workers
    path = write(tmp_path / "rows.jsonl", rows)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stage, "find_duplication", fail)
        with pytest.raises(KeyboardInterrupt):
            prepared(workspace, path)
    (work,) = (workspace.root / "work" / "dataset").iterdir()
    assert len(list((work / "chunks").glob("*.json"))) == 4
    asked: list[str] = []
    start = chunks._start
    monkeypatch.setattr(chunks, "_start", lambda job: (asked.append(job.name), start(job))[1])
    again = prepared(workspace, path)
    assert "inspect" not in asked
    monkeypatch.undo()
    fresh = prepared(Workspace(tmp_path / "fresh"), path)
    for split in SPLITS:
        assert (again.artefact.path / f"{split}.jsonl").read_bytes() == (
            fresh.artefact.path / f"{split}.jsonl"
        ).read_bytes()


def everything_written(dataset: Dataset) -> str:
    folder = dataset.artefact.path
    return "".join((folder / name).read_text() for name in (QUARANTINE, CHANGES, CHECKS, "artefact.json"))


def test_values_that_a_plugin_finds_are_shown_nowhere(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint("names", f"{__name__}:find_jane", group)])
    load_plugins.cache_clear()
    try:
        named = f"Jane Roe said: {story(3)}"
        rows = [{"prompt": named, "completion": "yes"}, {"prompt": named, "completion": "no"}]
        rows += [{"prompt": named, "completion": "no"}, {"prompt": "", "completion": "Jane Roe"}]
        rows += [{"prompt": story(n), "completion": "Jane Roe"} for n in range(10, 14)]
        dataset = prepared(workspace, write(tmp_path / "rows.jsonl", rows), PrepareRecipe(test=0, validation=0))
    finally:
        load_plugins.cache_clear()
    assert dataset.artefact.summary["personal_data"] == {"person": 7}
    assert dataset.artefact.summary["duplicates"]["conflicting"] == 1
    assert "Jane" not in everything_written(dataset)
    assert "<PERSON>" in everything_written(dataset)


def find_jane(text: str) -> list[tuple[str, int, int]]:
    start = text.find("Jane Roe")
    return [("person", start, start + 8)] if start >= 0 else []


def test_a_completion_that_repeats_the_prompt_is_listed_as_changed_too(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": "Write a@example.org once more.", "completion": "a@example.org"}]
    options = PrepareRecipe(test=0, validation=0, personal_data="redact")
    dataset = prepared(workspace, write(tmp_path / "rows.jsonl", rows), options)
    assert [message.content for message in dataset.examples("train")[0].messages] == [
        "Write <EMAIL_1> once more.",
        "<EMAIL_1>",
    ]
    assert [row["field"] for row in lines_of(dataset, CHANGES)] == ["prompt", "completion"]


def test_redaction_reaches_tools_calls_labels_and_reports(workspace: Workspace, tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "mail", "arguments": '{"to": "ann@example.org"}'}}
    tool = {"type": "function", "function": {"name": "mail", "description": "as ann@example.org"}}
    messages = [{"role": "user", "content": "mail her"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    told = {"role": "tool", "tool_call_id": "c", "content": "sent"}
    chats: list[Any] = [
        {"messages": [*messages, told, {"role": "assistant", "content": story(n)}], "tools": [tool]} for n in range(3)
    ]
    labelled = [{"text": story(n), "label": "ann@example.org" if n else "none"} for n in range(3)]
    for number, rows in enumerate([chats, labelled]):
        options = PrepareRecipe(test=0, validation=0, personal_data="redact")
        dataset = prepared(workspace, write(tmp_path / f"{number}.jsonl", rows), options)
        kept = (dataset.artefact.path / "train.jsonl").read_text()
        assert "ann@example.org" not in kept + everything_written(dataset)
        assert "<EMAIL_1>" in kept


def test_a_snippet_never_shows_a_part_of_another_value(workspace: Workspace, tmp_path: Path) -> None:
    text = "Mail ann.long.name@example.org or, if that fails for any reason, bob.long.name@example.org at once."
    rows = [{"prompt": story(n), "completion": text} for n in range(3)]
    checks = prepared(workspace, write(tmp_path / "rows.jsonl", rows), PrepareRecipe(test=0, validation=0)).checks
    shown = [example["text"] for example in checks["personal_data"]["examples"]]
    assert shown
    assert not any(part in text for text in shown for part in ("ann", "bob", "long", "example"))


def test_a_form_that_all_rows_share_is_no_question_of_the_test_split(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"prompt": "Write a short story about it.", "completion": story(n, 12)} for n in range(300)]
    dataset = prepared(workspace, write(tmp_path / "rows.jsonl", rows), PrepareRecipe(contamination="drop"))
    assert require_sum(dataset)["kept"] == 300


def test_a_near_copy_is_dropped_only_beside_a_row_that_is_kept(workspace: Workspace, tmp_path: Path) -> None:
    words = story(1).split()
    chain = [
        " ".join([*words[:place], *(f"new{n}" for n in range(place)), *words[place:]]) for place in range(0, 30, 3)
    ]
    rows = [{"prompt": text, "completion": "ok"} for text in chain] + [{"prompt": story(9), "completion": "ok"}]
    options = PrepareRecipe(test=0, validation=0, drop_duplicates="near")
    dataset = prepared(workspace, write(tmp_path / "rows.jsonl", rows), options)
    kept = [example.body for example in dataset.each("train")]
    assert 3 <= len(kept) < 11
    for row in lines_of(dataset, QUARANTINE):
        of = int(row["reason"].rsplit(" ", 1)[1])
        assert jaccard(chain[row["row"] - 1] + "\nok", chain[of - 1] + "\nok") >= 0.8
        assert chain[of - 1] + "\nok" in kept
    secret = [{"prompt": f"{row['prompt']} me@example.org" if n == 0 else row["prompt"], "completion": "ok"}
              for n, row in enumerate(rows[:2])]  # fmt: skip
    both = PrepareRecipe(test=0, validation=0, drop_duplicates="near", personal_data="drop")
    clean = prepared(workspace, write(tmp_path / "secret.jsonl", [*secret, rows[-1]]), both)
    assert [example.row for example in clean.each("train")] == [2, 3]


def test_the_same_text_with_another_label_is_a_conflict_and_no_copy(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"text": story(n), "label": "good"} for n in range(40)] + [{"text": story(7), "label": "bad"}]
    dataset = prepared(workspace, write(tmp_path / "rows.jsonl", rows))
    duplicates = dataset.artefact.summary["duplicates"]
    assert (duplicates["exact"], duplicates["conflicting"]) == (0, 1)
    assert require_sum(dataset)["kept"] == 41


def test_a_prepared_dataset_that_holds_questions_is_refused_for_their_benchmark(
    workspace: Workspace, tmp_path: Path, judged: tuple[Path, list[dict[str, Any]]]
) -> None:
    folder, rows = judged
    path = write(tmp_path / "rows.jsonl", rows)
    evaluate = {"tasks": ["arc_easy"], "benchmarks": str(folder)}
    made = prepare_dataset(
        workspace,
        make_recipe({"data": str(path), "evaluate": evaluate, "prepare": {"contamination": "report"}}),
        Silent(),
    )
    again = {"data": made.artefact.reference, "evaluate": evaluate}
    with pytest.raises(Refusal, match="holds 2 rows with questions of arc_easy"):
        prepare_dataset(workspace, make_recipe(again), Silent())
    allowed = prepare_dataset(workspace, make_recipe({**again, "prepare": {"contamination": "report"}}), Silent())
    assert allowed.artefact == made.artefact


def test_one_row_is_learned_from_and_not_held_out(workspace: Workspace, tmp_path: Path) -> None:
    for number in range(6):
        path = write(tmp_path / f"{number}.jsonl", [{"prompt": story(number), "completion": "ok"}])
        splits = prepared(workspace, path, PrepareRecipe(test=0.5, validation=0.4)).artefact.summary["splits"]
        assert splits == {"train": 1, "validation": 0, "test": 0}
