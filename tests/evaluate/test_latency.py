"""Latency: the right work is timed, its figures are percentiles, and the receipt names the machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.evaluate import latency
from carrara.evaluate.latency import latency_figures, latency_records, this_machine
from carrara.evaluate.run import evaluate_model
from carrara.evaluate.scores import Record
from carrara.models import Model, resolve_model
from carrara.models.load import load_model
from carrara.models.stepper import Stepper
from carrara.progress import Silent
from carrara.recipe import EvaluateRecipe
from carrara.workspace import Workspace
from tests.tiny import write_tiny_model


class _Heard(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_each_answer_is_the_prompt_and_then_one_token_after_another(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve_model(workspace, str(write_tiny_model(tmp_path / "model", context=2048)), Silent())
    monkeypatch.setattr(latency, "_REPEATS", 2)
    step, read = Stepper.__call__, list[list[int]]()

    def counted(self: Stepper, tokens: Any) -> Any:
        read.append(list(tokens))
        return step(self, tokens)

    monkeypatch.setattr(Stepper, "__call__", counted)
    loaded = load_model(model, "float32")
    records = latency_records(loaded, Silent())
    long = [tokens for tokens in read if len(tokens) > 1]
    assert [len(tokens) for tokens in long] == [32] * 3 + [256] * 3 + [512] * 6  # the first of each warms up
    assert len(read) - len(long) == 9 * 63
    assert long[0] == long[1] == long[3][:32]
    assert not set(long[9]) & set(loaded.tokenizer.all_special_ids)
    assert [(record.item, record.category) for record in records] == [
        (0, "32"), (1, "32"), (2, "256"), (3, "256"), (4, "1024"), (5, "1024"),
    ]  # fmt: skip
    for record in records:
        first, others = record.measures["ttft"], 63 / record.measures["tokens_per_second"]
        assert first > 0
        assert record.value == first
        assert record.seconds == pytest.approx(first + others)


def test_prompts_beyond_the_context_are_left_out(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    heard = _Heard()
    records = latency_records(load_model(tiny_model, "float32"), heard)  # holds 256
    assert [record.category for record in records] == ["32"] * 8
    assert heard.sentences == ["latency: prompts of more than 32 tokens do not fit the model's context"]
    short = resolve_model(workspace, str(write_tiny_model(tmp_path / "short", context=80)), Silent())
    with pytest.raises(Refusal, match="holds 80 tokens; a prompt of 32 and an answer of 64 do not fit"):
        latency_records(load_model(short, "float32"), Silent())


def test_the_receipt_names_the_machine_and_only_for_latency(workspace: Workspace, tiny_model: Model) -> None:
    evaluation = evaluate_model(workspace, tiny_model, EvaluateRecipe(tasks=("latency",)), Silent())
    machine = evaluation.scores.receipt["machine"]
    assert machine == this_machine()
    assert machine["processor"]
    assert machine["cores"] >= 1
    assert machine["threads"] >= 1
    metrics = [figure.metric for figure in evaluation.figures]
    assert metrics[:4] == ["ttft_p50", "ttft_p95", "tokens_per_second_p50", "tokens_per_second_p95"]
    assert metrics[4:] == [f"{metric}_at_32" for metric in metrics[:4]]
    assert [record.measures for record in evaluation.scores.records]  # they come back from the table
    again = evaluate_model(workspace, tiny_model, EvaluateRecipe(tasks=("latency",)), Silent())
    assert again.artefact.reference != evaluation.artefact.reference  # what it was before is not what it is now


def _record(length: int, first: float, rate: float) -> Record:
    measures = {"ttft": first, "tokens_per_second": rate}
    return Record(
        task="latency", item=0, value=first, tokens=64, bytes=0, seconds=1.0, category=str(length), measures=measures,
        id="0", question="", choices=[], prompt_sha256="",
    )  # fmt: skip


def test_p95_is_the_bad_end_of_either_measure() -> None:
    records = [_record(32, n / 100, 100 + n) for n in range(101)] + [_record(256, 9.0, 5.0)]
    found = {figure.metric: figure for figure in latency_figures(records)}
    assert found["ttft_p50_at_32"].value == pytest.approx(0.5)
    assert found["ttft_p95_at_32"].value == pytest.approx(0.95)
    assert found["tokens_per_second_p50_at_32"].value == pytest.approx(150)
    assert found["tokens_per_second_p95_at_32"].value == pytest.approx(105)
    assert (found["ttft_p95_at_256"].value, found["ttft_p95_at_256"].n) == (9.0, 1)
    assert (found["ttft_p50"].n, found["ttft_p50"].stderr) == (102, None)
