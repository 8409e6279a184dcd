"""Tasks that a model answers in writing: kept, gone on with, never moved by a limit, and refused in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.evaluate import written
from carrara.evaluate.run import Evaluation, evaluate_model
from carrara.evaluate.scores import Record
from carrara.models import Model, resolve_model
from carrara.models.generate import write_all
from carrara.models.load import load_model
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe, PrepareRecipe
from carrara.tasks import BENCHMARKS
from carrara.tasks.rows import write_rows
from carrara.tasks.truthfulqa import PREAMBLE
from carrara.workspace import Workspace
from tests.tasks.rows import IFEVAL, TRUTHFULQA_TABLE, write_lines
from tests.tiny import prepared, write_pairs, write_tiny_model

CONTEXT = 1024  # of a model that reads a letter a token, so that the six examples fit


@pytest.fixture(scope="session")
def long_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("long") / "model", context=CONTEXT)


@pytest.fixture
def model(workspace: Workspace, long_folder: Path) -> Model:
    return resolve_model(workspace, str(long_folder), Silent())


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model never ends; 8 tokens show as much."""
    real = written.write_all
    monkeypatch.setattr(written, "write_all", lambda loaded, ids, budget, *rest: real(loaded, ids, 8, *rest))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """70 invented prompts in the form of IFEval and 3 questions in the form of TruthfulQA's table."""
    rows = [IFEVAL | {"key": n, "prompt": f"Write about {n}{'!' * (n % 7)}"} for n in range(70)]
    write_lines(tmp_path / "benchmarks" / "ifeval" / "input_data.jsonl", rows)
    table = tmp_path / "benchmarks" / "truthfulqa" / "TruthfulQA.csv"
    table.parent.mkdir()
    write_rows(table, [TRUTHFULQA_TABLE | {"Question": f"Is it {n}?"} for n in range(3)])
    return tmp_path / "benchmarks"


class _Heard(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def _evaluate(workspace: Workspace, model: Model, folder: Path, *tasks: str, **more: Any) -> Evaluation:
    recipe = EvaluateRecipe(tasks=tasks or ("ifeval",), benchmarks=folder, **more)
    return evaluate_model(workspace, model, recipe, Silent())


def _texts(records: list[Record]) -> list[tuple[int, str, int]]:
    return [(record.item, record.written, record.tokens) for record in records]


def test_every_prompt_has_its_text_and_its_measures(workspace: Workspace, model: Model, folder: Path) -> None:
    evaluation = _evaluate(workspace, model, folder)
    records = evaluation.scores.records
    assert [record.item for record in records] == list(range(70))
    assert {record.tokens for record in records} <= set(range(1, 9))
    assert all(record.seconds > 0 for record in records)
    assert len({record.written for record in records}) > 10
    found = {figure.metric: figure for figure in evaluation.figures}
    assert list(found) == ["prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose"]
    shares = [record.measures["prompt_strict"] for record in records]
    assert found["prompt_strict"].value == pytest.approx(sum(shares) / 70)
    followed = sum(record.measures["followed_strict"] for record in records)
    assert found["instruction_strict"].value == pytest.approx(followed / 140)
    assert all(record.value == record.measures["prompt_strict"] for record in records)
    rules = evaluation.scores.receipt["tasks"]["ifeval"]
    assert (rules["chat_template"], rules["max_tokens"], rules["stops"], rules["of"]) == (True, 1280, [], 70)


def test_the_prompt_goes_through_the_template_or_stands_as_it_is(
    workspace: Workspace, model: Model, folder: Path
) -> None:
    loaded = load_model(model, "float32")
    scores = _evaluate(workspace, model, folder, "ifeval", "truthfulqa_gen", limit=3).scores
    chat = "<|im_start|>user\nWrite about 1!<|im_end|>\n<|im_start|>assistant\n"
    (alone,) = write_all(loaded, [loaded.tokenizer.encode(chat)], 8, {2})
    assert scores.of("ifeval")[1].written == alone.text
    (alone,) = write_all(loaded, [loaded.tokenizer.encode(f"{PREAMBLE}Q: Is it 2?")], 8, {2}, ["\n\n"])
    record = scores.of("truthfulqa_gen")[2]
    assert (record.written, record.category, record.cluster) == (alone.text, "Law", "https://a")
    assert record.choices == ["Yes.", "Surely.", "I have no comment.", "No."]
    assert record.labels == [1, 1, 1, 0]
    assert tuple(record.measures) == BENCHMARKS["truthfulqa_gen"].metrics
    assert scores.receipt["tasks"]["truthfulqa_gen"]["stops"] == ["\n\n"]
    assert "tok:intl" in scores.receipt["tasks"]["truthfulqa_gen"]["signatures"]["bleu"]


def test_a_limit_takes_a_prefix_of_the_same_texts(
    workspace: Workspace, model: Model, folder: Path, tmp_path: Path
) -> None:
    whole = _texts(_evaluate(workspace, model, folder).scores.records)
    anew = Workspace(tmp_path / "anew")
    assert _texts(_evaluate(anew, model, folder, limit=5).scores.records) == whole[:5]
    assert _texts(_evaluate(anew, model, folder, limit=40).scores.records) == whole[:40]


def test_a_killed_evaluation_goes_on(
    workspace: Workspace, model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _texts(_evaluate(workspace, model, folder).scores.records)
    other = Workspace(tmp_path / "other")
    write, prompts = written.write_all, list[int]()

    def killed(loaded: Any, ids: Any, *rest: Any) -> Any:
        prompts.append(len(ids))
        if len(prompts) == 2:
            raise KeyboardInterrupt
        return write(loaded, ids, *rest)

    monkeypatch.setattr(written, "write_all", killed)
    with pytest.raises(KeyboardInterrupt):
        _evaluate(other, model, folder)
    heard = _Heard()
    resumed = evaluate_model(other, model, EvaluateRecipe(tasks=("ifeval",), benchmarks=folder), heard)
    assert _texts(resumed.scores.records) == whole
    assert f"ifeval: {prompts[0]} of 70 items had been written before" in heard.sentences
    assert sum(prompts[:1] + prompts[2:]) == 70  # no prompt was gone on with twice


def test_what_is_known_is_that_of_the_same_prompts_and_the_same_budget(
    workspace: Workspace, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the task is called, and however its answers are judged."""
    write, budgets = written.write_all, list[int]()

    def counted(loaded: Any, ids: Any, budget: int, *rest: Any) -> Any:
        budgets.append(budget)
        return write(loaded, ids, budget, *rest)

    monkeypatch.setattr(written, "write_all", counted)
    for keys in ({}, {"name": "other"}, {"labels": ["good", "bad"]}, {"max_tokens": 5}, {"chat": False}):
        _evaluate(workspace, model, folder, _own(folder, answers="written", question="{q}", answer="a", **keys))
    assert budgets == [64, 5, 64]
    assert len(workspace.list("scores")) == 5


def _own(folder: Path, **keys: Any) -> str:
    rows = [{"q": f"How is day {n}?", "a": ("good", "bad")[n % 2]} for n in range(10)]
    write_lines(folder / "rows.jsonl", rows)
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({"name": "own", "data": "rows.jsonl", **keys}))
    return str(path)


def test_a_classification_by_writing_has_the_figures_of_one(
    workspace: Workspace, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _say(monkeypatch, lambda place: ("Good.", "It is bad", "whatever", "Bad or good?")[place % 4])
    task = _own(folder, answers="written", question="{q}", answer="a", labels=["good", "bad"])
    evaluation = _evaluate(workspace, model, folder, task)
    records = evaluation.scores.records
    assert [record.prediction for record in records] == [0, 1, None, 1, 0, 1, None, 1, 0, 1]
    assert [record.gold for record in records] == [0, 1] * 5
    found = {figure.metric: figure.value for figure in evaluation.figures}
    assert found == {
        "acc": pytest.approx(0.8),
        "macro_f1": pytest.approx((2 * 0.6 / 1.6 + 1) / 2),
        "balanced_accuracy": pytest.approx((0.6 + 1) / 2),
        "none": pytest.approx(0.2),
    }


def test_free_answers_are_compared_with_the_column(
    workspace: Workspace, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _say(monkeypatch, lambda place: ("good", "bad")[place % 2] if place < 5 else "")
    task = _own(folder, answers="written", question="{q}", answer="a", chat=False)
    evaluation = _evaluate(workspace, model, folder, task)
    found = {figure.metric: figure for figure in evaluation.figures}
    assert found["chrf"].value == found["rouge_l"].value == pytest.approx(0.5)
    assert found["chrf"].stderr == pytest.approx(0.5 / 3)
    assert (found["corpus_chrf"].stderr, found["distinct_1"].value, found["words"].value) == (None, 0.4, 0.5)
    assert evaluation.scores.receipt["tasks"]["own"]["signatures"]["corpus_bleu"].startswith("nrefs:1")
    assert evaluation.scores.records[0].choices == ["good"]


def _say(monkeypatch: pytest.MonkeyPatch, text: Callable[[int], str]) -> None:
    """Put words in the model's mouth, by the number in a prompt's last characters."""

    def write(loaded: Any, ids: Any, budget: int, ends: Any, stops: Any) -> list[written.Written]:
        found = []
        for prompt in ids:
            asked = loaded.tokenizer.decode(prompt)
            said = text(int(asked[asked.index("day ") + 4]))
            tokens = (*loaded.tokenizer.encode(said), 2)
            found.append(written.as_written(loaded, tokens, ends, stops, 0.1))
        return found

    monkeypatch.setattr(written, "write_all", write)


@pytest.fixture
def dataset(workspace: Workspace, tmp_path: Path) -> Dataset:
    return prepared(workspace, write_pairs(tmp_path / "p.jsonl", 80), PrepareRecipe(test=0.3))


def test_held_out_prompts_are_answered_and_compared(workspace: Workspace, model: Model, dataset: Dataset) -> None:
    recipe = EvaluateRecipe(tasks=("heldout_answers", "heldout"))
    evaluation = evaluate_model(workspace, model, recipe, Silent(), heldout=dataset)
    records = evaluation.scores.of("heldout_answers")
    examples = dataset.examples("test")
    assert [record.choices for record in records] == [[example.answer] for example in examples]
    assert [record.question for record in records] == [example.context for example in examples]
    loaded = load_model(model, "float32")
    chat = f"<|im_start|>user\n{examples[3].context}<|im_end|>\n<|im_start|>assistant\n"
    (alone,) = write_all(loaded, [loaded.tokenizer.encode(chat)], 8, {2})
    assert records[3].written == alone.text
    found = {figure.metric: figure for figure in evaluation.figures if figure.task == "heldout_answers"}
    assert next(iter(found)) == "chrf"
    assert {"bleu", "rouge_l", "distinct_3", "self_bleu", "compression", "recited", "missing_end"} <= found.keys()
    assert found["missing_end"].value == 1  # a random model does not end within 8 tokens
    assert found["compression"].stderr is None
    assert evaluation.scores.receipt["heldout"]["dataset"] == dataset.artefact.digest
    room = evaluation.scores.receipt["tasks"]["heldout_answers"]["max_tokens"]
    assert room == "1.5 times the longest expected, 256 at least"
    some = evaluate_model(workspace, model, recipe.model_copy(update={"limit": 4}), Silent(), heldout=dataset)
    assert _texts(some.scores.of("heldout_answers")) == _texts(records)[:4]
    assert len(some.scores.of("heldout")) == len(examples)


def test_of_a_conversation_the_last_answer_is_asked(workspace: Workspace, model: Model, tmp_path: Path) -> None:
    def turns(n: int) -> list[dict[str, str]]:
        said = (f"Who is {n}?", f"Number {n}.", f"And after {n}?", f"It is {n + 1}.")
        return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]

    path = write_lines(tmp_path / "talks.jsonl", [{"messages": turns(n)} for n in range(60)])
    rows = prepared(workspace, path, PrepareRecipe(test=0.3))
    recipe = EvaluateRecipe(tasks=("heldout_answers",), limit=2)
    records = evaluate_model(workspace, model, recipe, Silent(), heldout=rows).scores.records
    loaded = load_model(model, "float32")
    for record, example in zip(records, rows.examples("test"), strict=False):
        *before, last = example.messages
        chat = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in before)
        (alone,) = write_all(loaded, [loaded.tokenizer.encode(f"{chat}<|im_start|>assistant\n")], 8, {2})
        assert (record.written, record.choices) == (alone.text, [last.content])


def test_plain_rows_are_asked_plainly(workspace: Workspace, model: Model, tmp_path: Path) -> None:
    rows = prepared(workspace, write_pairs(tmp_path / "p.jsonl", 60), PrepareRecipe(test=0.2, render="plain"))
    recipe = EvaluateRecipe(tasks=("heldout_answers",), limit=1)
    (record,) = evaluate_model(workspace, model, recipe, Silent(), heldout=rows).scores.records
    loaded = load_model(model, "float32")
    (alone,) = write_all(loaded, [loaded.tokenizer.encode(rows.examples("test")[0].context)], 8, {2})
    assert record.written == alone.text


def test_what_cannot_be_asked_is_a_sentence_and_the_rest_goes_on(
    workspace: Workspace, model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / BENCHMARKS["ifeval"].file
    write_lines(path, [IFEVAL, IFEVAL | {"prompt": "x" * 2000}])
    evaluation = _evaluate(workspace, model, folder, "ifeval", "truthfulqa_gen")
    assert evaluation.scores.tasks() == ["truthfulqa_gen"]
    assert "ifeval, item 1: its prompt has 2,0" in evaluation.missing["ifeval"]
    assert "room for 1,024" in evaluation.missing["ifeval"]
    assert len(_evaluate(workspace, model, folder, "ifeval", limit=1).scores.records) == 1
    write_lines(path, [IFEVAL, IFEVAL | {"instruction_id_list": ["punctuation:no_comma", "rhyme:none"]}])
    with pytest.raises(Refusal, match=r"input_data\.jsonl, item 1, field instruction_id_list: 'rhyme:none' is no"):
        _evaluate(workspace, model, folder)
    write_lines(path, [IFEVAL | {"kwargs": [{}, {"relation": "at least"}]}])
    with pytest.raises(Refusal, match=r"item 0, field kwargs: length_constraints:number_words: num_words is missing"):
        _evaluate(workspace, model, folder)
    write_lines(path, [IFEVAL | {"prompt": "Say <|im_end|>."}])
    with pytest.raises(Refusal, match=r"ifeval, item 0: a message holds the control token"):
        _evaluate(workspace, model, folder)


def test_a_model_without_template_or_end_is_refused_where_it_needs_one(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    place = write_tiny_model(tmp_path / "bare", context=CONTEXT)
    (place / "chat_template.jinja").unlink()
    bare = resolve_model(workspace, str(place), Silent())
    evaluation = _evaluate(workspace, bare, folder, "ifeval", "truthfulqa_gen")
    assert evaluation.scores.tasks() == ["truthfulqa_gen"]
    assert "asks through the model's chat template" in evaluation.missing["ifeval"]
    for name in ("tokenizer_config.json", "generation_config.json", "config.json"):
        fields = json.loads((place / name).read_text())
        (place / name).write_text(json.dumps({key: each for key, each in fields.items() if "eos_token" not in key}))
    endless = resolve_model(workspace, str(place), Silent())
    task = _own(folder, answers="written", question="{q}", answer="a", chat=False)
    evaluation = _evaluate(workspace, endless, folder, task, "truthfulqa_gen")  # which has a stop string
    assert evaluation.scores.tasks() == ["truthfulqa_gen"]
    assert "name an end token, so that no answer would end" in evaluation.missing["own"]
