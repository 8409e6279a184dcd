"""The scorer gives what scoring each answer alone gives, however the work is cut."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from carrara.data.render.example import context_and_continuation
from carrara.evaluate import scorer
from carrara.evaluate.protocol import PROTOCOLS, build_context, order_and_draw
from carrara.evaluate.scorer import row_of_text, rows_of_question, score_rows
from carrara.models import Model, resolve_model
from carrara.models.load import Loaded, load_model
from carrara.progress import Silent
from carrara.tasks import BENCHMARKS
from carrara.workspace import Workspace
from tests.tiny import write_tiny_tokenizer


def _alone(loaded: Loaded, context: list[int], answer: list[int]) -> float:
    """lm-eval's way: one sequence for each answer, cut from the left, the whole vocabulary at every position."""
    ids = (context + answer)[-(loaded.context + 1) :][:-1]
    with torch.inference_mode():
        logits = loaded.network(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    rows = logits[len(ids) - len(answer) :]
    return sum(float(rows[i, token]) for i, token in enumerate(answer))


def _questions(count: int, longest: int) -> list[tuple[list[int], list[list[int]]]]:
    chance = random.Random(5)

    def ids(low: int, high: int) -> list[int]:
        return [chance.randrange(3, 250) for _ in range(chance.randint(low, high))]

    return [(ids(1, longest), [ids(1, 9) for _ in range(chance.randint(1, 5))]) for _ in range(count)]


def test_a_tree_equals_its_branches_alone(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    questions = _questions(40, 60)
    rows = [row for context, answers in questions for row in rows_of_question(context, answers, loaded.context)]
    assert len(rows) == 40
    for (context, answers), found in zip(questions, score_rows(loaded, rows), strict=True):
        assert found == pytest.approx([_alone(loaded, context, answer) for answer in answers], abs=1e-3)


def test_a_context_that_is_too_long_is_cut_for_each_answer(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    context, answers = list(range(3, 253)) + [7] * 10, [[5, 6, 7], [9] * 20]
    rows = rows_of_question(context, answers, loaded.context)
    assert len(rows) == 2
    found = [value for sums in score_rows(loaded, rows) for value in sums]
    assert found == pytest.approx([_alone(loaded, context, answer) for answer in answers], abs=1e-3)
    with pytest.raises(ValueError, match="longer than"):
        rows_of_question([1], [[2] * 300], loaded.context)


def test_a_sliding_window_is_kept(tmp_path: Path, workspace: Workspace) -> None:
    """A row beyond the window is scored without branches, since a tree mask would show more than the model sees."""
    from transformers import MistralConfig, MistralForCausalLM

    size = write_tiny_tokenizer(tmp_path)
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=size, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, sliding_window=8,
    )  # fmt: skip
    network = MistralForCausalLM(config)
    for parameter in network.parameters():
        parameter.data *= 4
    network.save_pretrained(tmp_path)
    loaded = load_model(resolve_model(workspace, str(tmp_path), Silent()), "float32")
    assert loaded.window == 8
    context, answers = list(range(10, 40)), [[50, 51, 52], [60, 61]]
    short = list(range(10, 13))
    for asked in (context, short):
        rows = rows_of_question(asked, answers, loaded.context, loaded.window)
        found = [value for sums in score_rows(loaded, rows) for value in sums]
        assert found == pytest.approx([_alone(loaded, asked, answer) for answer in answers], abs=1e-3)


@pytest.mark.parametrize("tokens", [1, 100, 10_000])
def test_the_batch_size_changes_nothing(tiny_model: Model, monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    loaded = load_model(tiny_model, "float32")
    rows = [row for context, answers in _questions(30, 40) for row in rows_of_question(context, answers, 256)]
    expected = score_rows(loaded, rows)
    monkeypatch.setattr(scorer, "_TOKENS", tokens)
    monkeypatch.setattr(scorer, "_PREDICTIONS", max(1, tokens // 10))
    for found, wanted in zip(score_rows(loaded, rows[::-1])[::-1], expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)


def test_a_text_is_scored_where_it_is_marked(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    ids, marked = [5, 6, 7, 8, 9], [False, False, True, False, True]
    with torch.inference_mode():
        logits = loaded.network(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = float(logits[1, 7] + logits[3, 9])
    assert score_rows(loaded, [row_of_text(ids, marked)])[0] == pytest.approx([expected], abs=1e-4)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize(("name", "shots"), [("arc_challenge", 5), ("hellaswag", 0), ("truthfulqa_mc2", 0)])
def test_real_questions_score_as_lm_eval_scores_them(
    smollm: Model, benchmark_folder: Path, name: str, shots: int
) -> None:
    """Within 1e-3 nats on every request of real questions, in float32."""
    loaded = load_model(smollm, "float32")
    task = BENCHMARKS[name]
    items = task.read(benchmark_folder / task.file)
    pool = task.read_train(benchmark_folder / str(task.train_file)) if shots and task.read_train else []
    asked = order_and_draw(PROTOCOLS["lm-eval-0.4"], len(items), len(pool), shots, False)[:6]
    for question in asked:
        item = items[question.position]
        context = build_context(task, item, [pool[shot] for shot in question.shots])
        pairs = [context_and_continuation(loaded.tokenizer, context, f" {choice}") for choice in item.choices]
        rows = rows_of_question(pairs[0][0], [answer for _, answer in pairs], loaded.context)
        (found,) = score_rows(loaded, rows)
        assert found == pytest.approx([_alone(loaded, *pair) for pair in pairs], abs=1e-3)
