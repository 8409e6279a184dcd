"""Similarity: figures against their definitions, the same bits under a limit, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from carrara.errors import Refusal
from carrara.evaluate.own_pairs import is_of_pairs, read_own_pairs
from carrara.evaluate.run import Evaluation, evaluate_model
from carrara.evaluate.scores import Record
from carrara.evaluate.similarity import intervals, similarity_figures
from carrara.models import Model, resolve_model
from carrara.models.embedder import embed
from carrara.models.load import load_any
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe, PrepareRecipe
from carrara.workspace import Workspace
from tests.models.tiny_embedder import write_tiny_embedder
from tests.tiny import prepared

OWN = {"name": "alike", "data": "alike.jsonl", "first": "a", "second": "b", "score": "likeness"}


def _rows(count: int) -> list[dict[str, Any]]:
    """Pairs whose second text shares the more with the first, the higher their score; every third query comes twice."""
    words = [f"{n * 7919 % 9973:04d} word{n % 7}" for n in range(count)]
    rows = []
    for n, word in enumerate(words):
        likeness = n % 6
        rows.append({"a": words[n - 1] if n % 3 == 2 else word, "b": f"{word[:likeness]}{n:x}", "likeness": likeness})
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "alike.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _rows(150)))
    (tmp_path / "alike.yaml").write_text(yaml.safe_dump(OWN))
    return tmp_path


@pytest.fixture
def embedder(workspace: Workspace, tmp_path: Path) -> Model:
    return resolve_model(workspace, str(write_tiny_embedder(tmp_path / "embedder")), Silent())


def _evaluate(workspace: Workspace, model: Model, folder: Path, limit: int | None = None) -> Evaluation:
    recipe = EvaluateRecipe(tasks=(str(folder / "alike.yaml"),), limit=limit)
    return evaluate_model(workspace, model, recipe, Silent())


def _searched(rows: list[dict[str, Any]], vectors: list[Any]) -> dict[str, list[float]]:
    """Recall at 1 and at 10 for each query, written anew."""
    firsts, seconds = vectors[::2], vectors[1::2]
    documents = {row["b"]: vector for row, vector in zip(rows, seconds, strict=True)}
    found: dict[str, list[float]] = {}
    for row, query in zip(rows, firsts, strict=True):
        if row["likeness"] < 4:
            continue
        cosine = {text: vector @ query / np.linalg.norm(vector) for text, vector in documents.items()}
        ranked = sorted(cosine, key=lambda text: -cosine[text])
        sought = {other["b"] for other in rows if other["a"] == row["a"] and other["likeness"] >= 4}
        found[row["a"]] = [len(sought & set(ranked[:most])) / len(sought) for most in (1, 10)]
    return found


@pytest.mark.parametrize("which", ["writes", "embeds"])
def test_figures_are_those_of_their_definitions(
    workspace: Workspace, tiny_model: Model, embedder: Model, folder: Path, which: str
) -> None:
    model, rows = tiny_model if which == "writes" else embedder, _rows(150)
    evaluation = _evaluate(workspace, model, folder)
    texts = [text for row in rows for text in (row["a"], row["b"])]
    vectors: list[Any] = [found.vector.astype(float) for found in embed(load_any(model, "float32"), texts)]
    first, second = np.array(vectors[::2]), np.array(vectors[1::2])
    cosines = np.sum(first * second, axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    gold = [row["likeness"] for row in rows]
    records, figures = evaluation.scores.records, {figure.metric: figure for figure in evaluation.figures}
    assert [record.measures["cosine"] for record in records] == pytest.approx(cosines, abs=1e-5)
    assert [record.measures["gold"] for record in records] == gold
    assert figures["spearman"].value == pytest.approx(stats.spearmanr(gold, cosines)[0], abs=1e-3)
    assert figures["pearson"].value == pytest.approx(stats.pearsonr(gold, cosines)[0], abs=1e-4)
    assert np.mean([record.value for record in records]) == pytest.approx(figures["spearman"].value)
    searched = _searched(rows, vectors)
    assert figures["recall_at_1"].n == figures["ndcg_at_10"].n == len(searched)
    for metric, values in zip(("recall_at_1", "recall_at_10"), zip(*searched.values(), strict=True), strict=True):
        assert figures[metric].value == pytest.approx(np.mean(values), abs=0.03)  # ties may fall either way
    assert -1 <= figures["anisotropy"].value <= 1


def test_anisotropy_is_the_mean_cosine_of_texts_that_were_not_paired(
    workspace: Workspace, tiny_model: Model, folder: Path
) -> None:
    evaluation = _evaluate(workspace, tiny_model, folder)
    vectors: list[Any] = [
        found.vector / np.linalg.norm(found.vector)
        for found in embed(load_any(tiny_model, "float32"), [row[side] for side in "ab" for row in _rows(150)])
    ]
    table = np.array(vectors[:150]) @ np.array(vectors[150:]).T
    others = table[~np.eye(150, dtype=bool)]
    (found,) = [figure for figure in evaluation.figures if figure.metric == "anisotropy"]
    assert found.stderr is not None
    assert abs(found.value - others.mean()) < 4 * found.stderr


def test_a_limit_changes_no_bit_of_a_cosine(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    whole = _evaluate(workspace, tiny_model, folder).scores.records
    some = _evaluate(workspace, tiny_model, folder, limit=20).scores.records
    assert [record.measures["cosine"] for record in some] == [record.measures["cosine"] for record in whole[:20]]
    assert [record.prompt_sha256 for record in some] == [record.prompt_sha256 for record in whole[:20]]
    assert len({record.prompt_sha256 for record in whole}) == 150


def test_two_models_have_the_same_items_side_by_side(
    workspace: Workspace, tiny_model: Model, embedder: Model, folder: Path
) -> None:
    from carrara.verdict.pairing import pair, require_same_rules

    one, other = (_evaluate(workspace, model, folder).scores for model in (tiny_model, embedder))
    require_same_rules(one.receipt, other.receipt)
    pairs = pair("alike", one.records, other.records)
    assert len(pairs) == 150
    assert all(before.measures.keys() == after.measures.keys() for before, after in pairs)


def test_an_embedder_does_similarity_and_nothing_else(workspace: Workspace, embedder: Model, folder: Path) -> None:
    recipe = EvaluateRecipe(tasks=("arc_easy", "heldout", "latency", str(folder / "alike.yaml")), benchmarks=folder)
    evaluation = evaluate_model(workspace, embedder, recipe, Silent())
    assert evaluation.scores.tasks() == ["alike"]
    assert set(evaluation.missing) == {"arc_easy", "heldout", "latency"}
    assert "only turns texts into vectors; ask it stsb" in evaluation.missing["latency"]


def test_what_cannot_be_correlated_is_refused(workspace: Workspace, tiny_model: Model, folder: Path) -> None:
    rows = [row | {"likeness": 3} for row in _rows(10)]
    (folder / "alike.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(Refusal, match="the scores that people gave are all the same"):
        _evaluate(workspace, tiny_model, folder)


def test_embeddings_that_are_no_numbers_are_refused(workspace: Workspace, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = write_tiny_embedder(tmp_path / "broken")
    weights = load_file(place / "model.safetensors")
    weights["embeddings.LayerNorm.weight"][:] = float("nan")
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refusal, match="the embeddings of 150 items are no numbers"):
        _evaluate(workspace, resolve_model(workspace, str(place), Silent()), folder)


def test_pairs_that_training_rows_hold_are_not_asked(
    workspace: Workspace, tiny_model: Model, folder: Path, tmp_path: Path
) -> None:
    texts = [f"The {n}th quarry lies {37 * n} miles behind the town of {n:x}ville" for n in range(12)]
    (folder / "stsb").mkdir()
    lines = "".join(f"{text},{text[: 9 * (n % 5)]} and so on,{n % 5}\n" for n, text in enumerate(texts))
    (folder / "stsb" / "stsb-en-test.csv").write_text(lines)
    rows = [{"prompt": f"Where? {text}.", "completion": "There."} for text in texts[:4]]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = prepared(workspace, tmp_path / "train.jsonl", PrepareRecipe(test=0, validation=0, render="plain"))
    recipe = EvaluateRecipe(tasks=("stsb",), benchmarks=folder)
    scores = evaluate_model(workspace, tiny_model, recipe, Silent(), not_near=dataset).scores
    assert [record.item for record in scores.records] == list(range(4, 12))
    assert scores.receipt["tasks"]["stsb"]["near_copies_skipped"] == 4


@pytest.mark.slow
@pytest.mark.model
def test_the_small_embedder_scores_as_mteb_scores_it(shared_workspace: Workspace, benchmark_folder: Path) -> None:
    """Spearman 0.82032 and Pearson 0.82741: embeddings-benchmark/results, all-MiniLM-L6-v2, STSBenchmark, test."""
    model = resolve_model(shared_workspace, "all-minilm-l6-v2", Silent())
    recipe = EvaluateRecipe(tasks=("stsb",), benchmarks=benchmark_folder)
    found = {figure.metric: figure for figure in evaluate_model(shared_workspace, model, recipe, Silent()).figures}
    assert found["spearman"].value == pytest.approx(0.82032, abs=2e-4)
    assert found["pearson"].value == pytest.approx(0.82741, abs=2e-4)
    assert (found["spearman"].n, found["recall_at_1"].n) == (1379, 309)


# ---- a task file of pairs ----


def _write(folder: Path, **keys: Any) -> Path:
    path = folder / "alike.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (OWN | keys).items() if value is not None}))
    return path


def test_a_task_file_of_pairs_names_three_columns(folder: Path) -> None:
    path = _write(folder)
    task = read_own_pairs(path)
    items = task.read(Path(task.file))
    assert (task.kind, task.name, len(items)) == ("pairs", "alike", 150)
    assert (items[7].context, items[7].score, items[7].id) == (_rows(8)[7]["a"], 1.0, "8")
    assert is_of_pairs(path)
    assert is_of_pairs(_write(folder, second=None))  # so that the sentence is about the missing column
    path.write_text("question: a\nfirst: b\n")
    assert not is_of_pairs(path)
    for broken in ("[1]", "a: [", "\x00"):
        path.write_text(broken)
        assert not is_of_pairs(path)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"second": None}, r"alike\.yaml: key 'second': field required"),
        ({"shots": 2}, r"unknown key 'shots' \(known here: name, data, first, second, score\)"),
        ({"name": "stsb"}, "'stsb' is a task that exists"),
        ({"name": "latency"}, "'latency' is a task that exists"),
        ({"first": "c"}, r"alike\.jsonl is not in the form that alike has: row 1, field c: it is missing"),
        ({"score": "a"}, r"row 1, field a: '0000 word0' is no number"),
        ({"data": "none.jsonl"}, r"none\.jsonl, which the task file names, is no file"),
    ],
)
def test_a_wrong_task_file_of_pairs_is_named(
    workspace: Workspace, tiny_model: Model, folder: Path, keys: dict[str, Any], sentence: str
) -> None:
    _write(folder, **keys)
    with pytest.raises(Refusal, match=sentence):
        _evaluate(workspace, tiny_model, folder)


# ---- figures ----


def _record(**measures: float) -> Record:
    texts: dict[str, Any] = {"id": "0", "question": "", "choices": [], "prompt_sha256": ""}
    return Record(task="t", item=0, value=0.0, tokens=1, bytes=1, seconds=0.5, measures=measures, **texts)


def test_figures_of_retrieval_are_over_the_queries_alone() -> None:
    records = [_record(spearman=0.2, recall_at_1=1.0), _record(spearman=0.4), _record(spearman=0.9, recall_at_1=0.0)]
    found = {figure.metric: figure for figure in similarity_figures(records)}
    assert (found["spearman"].value, found["spearman"].n) == (pytest.approx(0.5), 3)
    assert found["spearman"].stderr == pytest.approx(0.2081666)
    assert (found["recall_at_1"].value, found["recall_at_1"].n, found["recall_at_1"].seconds) == (0.5, 2, 1.5)
    assert "ndcg_at_10" not in found
    told = intervals(list(found.values()))
    assert told == {"t": {"spearman": (pytest.approx(0.005, abs=5e-4), pytest.approx(0.798, abs=5e-4))}}
