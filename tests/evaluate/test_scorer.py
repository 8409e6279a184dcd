"""The scorer gives what scoring each answer alone gives, however the work is cut."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from carrara.data.render.example import context_and_continuations
from carrara.evaluate import scorer
from carrara.evaluate.known import Known
from carrara.evaluate.protocol import PROTOCOLS, build_context, order_and_draw
from carrara.evaluate.rows import Row, common_opening, row_of_text, rows_of_question
from carrara.evaluate.scorer import Scorer
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


def _silent(sentence: str) -> None:
    raise AssertionError(sentence)


def _rows(context: list[int], answers: list[list[int]], longest: int, window: int | None = None) -> list[Row]:
    return rows_of_question([(context, answer) for answer in answers], longest, window)


def _scores(loaded: Loaded, rows: list[Row]) -> list[list[float]]:
    return [list(scored.loglikelihoods) for scored in Scorer(loaded).score(rows) if scored]


def test_a_tree_equals_its_branches_alone(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    questions = _questions(40, 60)
    rows = [row for context, answers in questions for row in _rows(context, answers, loaded.context)]
    assert len(rows) == 40
    for (context, answers), found in zip(questions, _scores(loaded, rows), strict=True):
        assert found == pytest.approx([_alone(loaded, context, answer) for answer in answers], abs=1e-3)


def test_a_context_that_is_too_long_is_cut_for_each_answer(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    context, answers = list(range(3, 253)) + [7] * 10, [[5, 6, 7], [9] * 20]
    rows = _rows(context, answers, loaded.context)
    assert len(rows) == 2
    found = [value for sums in _scores(loaded, rows) for value in sums]
    assert found == pytest.approx([_alone(loaded, context, answer) for answer in answers], abs=1e-3)
    with pytest.raises(ValueError, match="longer than"):
        _rows([1], [[2] * 300], loaded.context)


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
        rows = _rows(asked, answers, loaded.context, loaded.window)
        found = [value for sums in _scores(loaded, rows) for value in sums]
        assert found == pytest.approx([_alone(loaded, asked, answer) for answer in answers], abs=1e-3)


@pytest.mark.parametrize("tokens", [1, 100, 10_000])
def test_the_size_of_a_pass_changes_no_more_than_rounding(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    loaded = load_model(tiny_model, "float32")
    rows = [row for context, answers in _questions(30, 40) for row in _rows(context, answers, 256)]
    expected = _scores(loaded, rows)
    monkeypatch.setattr(scorer, "_TOKENS", tokens)
    monkeypatch.setattr(scorer, "LOGITS_AT_ONCE", {"cpu": 4 * 259 * max(1, tokens // 10)})
    for found, wanted in zip(_scores(loaded, rows), expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)


def test_which_rows_are_wanted_changes_no_bit(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    rows = [row for context, answers in _questions(60, 90) for row in _rows(context, answers, 256)]
    whole = Scorer(loaded).score(rows)
    chance = random.Random(7)
    for share in (0.02, 0.3, 0.9):
        wanted = [chance.random() < share for _ in rows]
        some = Scorer(loaded).score(rows, wanted)
        for is_wanted, found, expected in zip(wanted, some, whole, strict=True):
            assert expected is not None
            if found is None:
                assert not is_wanted
            else:
                assert found.loglikelihoods == expected.loglikelihoods


@pytest.mark.parametrize("shared", [40, 400])
def test_what_all_questions_begin_with_is_read_once(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch, shared: int
) -> None:
    """Also where it is longer than what a context is read alone from."""
    monkeypatch.setattr(scorer, "_LONG", 60)
    loaded = load_model(tiny_model, "float32")
    start = [random.Random(1).randrange(3, 250) for _ in range(min(shared, 150))]
    questions = [(start + context, answers) for context, answers in _questions(12, 70)]
    rows = [row for context, answers in questions for row in _rows(context, answers, 256)]
    assert common_opening(rows)[: len(start)] == tuple(start)
    read: list[int] = []
    read_on = scorer.read_on
    monkeypatch.setattr(scorer, "read_on", lambda *given: (read.append(given[1].shape[1]), read_on(*given))[1])
    for (context, answers), found in zip(questions, _scores(loaded, rows), strict=True):
        assert found == pytest.approx([_alone(loaded, context, answer) for answer in answers], abs=1e-3)
    opened = len(common_opening(rows))
    assert read[0] == opened
    assert set(read[1:]) <= {row.opening - opened for row in rows}  # contexts read alone, without what was read


def test_a_long_context_is_read_alone(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "_LONG", 100)
    monkeypatch.setattr(scorer, "_TOKENS", 128)
    loaded = load_model(tiny_model, "float32")
    chance = random.Random(2)
    for length in (99, 101, 102, 180):
        context = [chance.randrange(3, 250) for _ in range(length)]
        answers = [[5], [6, 7, 8], [9, 10]]
        (found,) = _scores(loaded, _rows(context, answers, loaded.context))
        assert found == pytest.approx([_alone(loaded, context, answer) for answer in answers], abs=1e-3)


def test_contexts_that_part_before_the_answer_share_what_they_begin_with(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    pairs = [([5, 6, 7, 8], [20, 21]), ([5, 6, 7], [22]), ([5, 6, 9, 9, 9], [20, 21, 23])]
    (row,) = rows_of_question(pairs, loaded.context)
    assert (row.context, row.branches, len(row.ids)) == (2, (3, 1, 5), 11)
    (found,) = _scores(loaded, [row])
    assert found == pytest.approx([_alone(loaded, [*context], [*answer]) for context, answer in pairs], abs=1e-3)


@pytest.mark.parametrize("count", [1, 2, 3, 65, 128])
def test_sums_over_the_vocabulary_are_torchs_own_in_the_memory_of_the_logits(count: int) -> None:
    logits = 20 * torch.randn(count, 49_152, generator=torch.Generator().manual_seed(count))
    theirs = logits.logsumexp(dim=-1)
    place = logits.data_ptr()
    assert torch.equal(scorer._logsumexp_within(logits), theirs)
    assert logits.data_ptr() == place
    assert logits.max() == 1  # they have become their exponentials


def test_what_has_no_tokens_is_refused() -> None:
    for pairs in ([([], [1])], [([1], [2]), ([1], [])]):
        with pytest.raises(ValueError, match="no tokens"):
            rows_of_question(pairs, 100)


def test_what_was_scored_is_known(tiny_model: Model, tmp_path: Path) -> None:
    loaded = load_model(tiny_model, "float32")
    rows = [row for context, answers in _questions(20, 40) for row in _rows(context, answers, 256)]
    with Known(tmp_path / "known.sqlite", _silent) as known:
        first = Scorer(loaded, known).score(rows)
        second = Scorer(loaded, known).score(rows)
    assert [scored and scored.before for scored in (*first, *second)] == [False] * 20 + [True] * 20
    assert [scored and scored.loglikelihoods for scored in first] == [s and s.loglikelihoods for s in second]
    assert [scored and scored.seconds for scored in first] == [scored and scored.seconds for scored in second]


def test_a_damaged_file_of_known_scores_costs_time_and_is_said_once(tiny_model: Model, tmp_path: Path) -> None:
    (tmp_path / "known.sqlite").write_bytes(b"no database" * 100)
    loaded, said = load_model(tiny_model, "float32"), list[str]()
    rows = [row for context, answers in _questions(20, 40) for row in _rows(context, answers, 256)]
    with Known(tmp_path / "known.sqlite", said.append) as known:
        found = Scorer(loaded, known).score(rows)
    assert [scored and scored.loglikelihoods for scored in found] == [
        scored and scored.loglikelihoods for scored in Scorer(loaded).score(rows)
    ]
    (sentence,) = said
    assert "known.sqlite, which keeps what was scored, cannot be used" in sentence


def test_a_disk_that_fills_up_while_scoring_costs_no_task(tmp_path: Path) -> None:
    said: list[str] = []
    with Known(tmp_path / "known.sqlite", said.append) as known:
        known._run("PRAGMA max_page_count = 3", ())
        for n in range(50):
            known.put(f"{n}", [([0.5] * 500, 1.0)])
        assert known.get("0") is None
    assert len(said) == 1
    assert "full" in said[0]


def test_several_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from carrara.evaluate.known import Known\n"
        "for n in range(40):\n    Known(Path(sys.argv[1]) / f'{n}.sqlite', print)"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) for _ in range(4)]
    assert [process.communicate()[0] for process in started] == [b""] * 4


def test_a_text_is_scored_where_it_is_marked(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    ids, marked = [5, 6, 7, 8, 9], [False, False, True, False, True]
    with torch.inference_mode():
        logits = loaded.network(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = float(logits[1, 7] + logits[3, 9])
    assert _scores(loaded, [row_of_text(ids, marked)])[0] == pytest.approx([expected], abs=1e-4)


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
    asked = order_and_draw(PROTOCOLS["lm-eval-0.4"], len(items), len(pool), shots, False)[:3]
    for question in asked:
        item = items[question.position]
        context = build_context(task, item, [pool[shot] for shot in question.shots])
        texts = [f" {choice}" for choice in item.choices]
        opening, answers = context_and_continuations(loaded.tokenizer, context, texts)
        (found,) = _scores(loaded, _rows(opening, answers, loaded.context))
        assert found == pytest.approx([_alone(loaded, opening, answer) for answer in answers], abs=1e-3)
