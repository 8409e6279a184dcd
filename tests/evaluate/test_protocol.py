"""The golden few-shot draws and prompts of the published harnesses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.evaluate.protocol import (
    PROTOCOLS,
    asked_in_order,
    build_context,
    find_protocol,
    order_and_draw,
    requests_of,
    shot_rule,
    shots_for,
)
from carrara.progress import Silent
from carrara.tasks import BENCHMARKS
from carrara.tasks.hellaswag import clean
from carrara.tasks.sources import find_benchmark
from carrara.tasks.task import Item
from carrara.workspace import Workspace

LM_EVAL, OPENLLM = PROTOCOLS["lm-eval-0.4"], PROTOCOLS["lm-eval-0.4-openllm"]
LEADERBOARD = PROTOCOLS["leaderboard-2023-10"]
MMLU, WINOGRANDE = BENCHMARKS["mmlu"], BENCHMARKS["winogrande"]


def _sha16(values: object) -> str:
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("protocol", "task", "sizes", "shots", "firsts", "sha16"),
    [
        ("lm-eval-0.4", "arc_challenge", (1172, 1119), 25,
         [[902, 239, 15, 185, 71, 171], [954, 140, 182, 1054, 94, 552]], "780318e3e48089c0"),
        ("lm-eval-0.4", "arc_easy", (2376, 2251), 25, [], "83980bbc39e1c037"),
        ("lm-eval-0.4-openllm", "arc_challenge", (1172, 1119), 25, [], "780318e3e48089c0"),
        ("lm-eval-0.4-openllm", "hellaswag", (10042, 39905), 10,
         [[28883, 7657, 490, 5940, 38156, 2288]], "259651f2e678c4e4"),
        ("lm-eval-0.4", "hellaswag", (10042, 39905), 10,
         [[28883, 7657, 490, 5940, 38156, 2288], [2019, 1038, 22681]], "a796eaa6aaf2f496"),
        ("lm-eval-0.4-openllm", "winogrande", (1267, 40398), 5,
         [[28883, 7657, 490, 5940, 38156], [2288, 5500, 6450, 23241, 15519]], "1fdd872318216e13"),
        ("lm-eval-0.4", "winogrande", (1267, 40398), 5,
         [[28883, 7657, 490, 5940, 38156], [5500, 6450, 23241, 15519, 1142]], "9fc10aaa4d911fb3"),
    ],
)  # fmt: skip
def test_lm_eval_draws(
    protocol: str, task: str, sizes: tuple[int, int], shots: int, firsts: list[list[int]], sha16: str
) -> None:
    asked = order_and_draw(PROTOCOLS[protocol], *sizes, shots, BENCHMARKS[task].draws_one_more)
    assert [a.position for a in asked] == list(range(sizes[0]))
    assert [list(a.shots[: len(first)]) for a, first in zip(asked, firsts)] == firsts
    assert _sha16([list(a.shots) for a in asked]) == sha16


@pytest.mark.parametrize(
    ("task", "sizes", "shots", "order", "first", "order_sha16", "shots_sha16"),
    [
        ("arc_challenge", (1172, 1119), 25, [595, 716, 511, 906, 148, 368], [888, 201, 205, 908, 340, 613],
         "77710299bf8a4283", "0a24fc1b76d80968"),
        ("hellaswag", (10042, 39905), 10, [9792, 1027, 5366], [], "715b7e7ff666cb12", "12b8e647da1c3d21"),
    ],
)  # fmt: skip
def test_leaderboard_draws(
    task: str, sizes: tuple[int, int], shots: int, order: list[int], first: list[int], order_sha16: str,
    shots_sha16: str,
) -> None:  # fmt: skip
    asked = order_and_draw(LEADERBOARD, *sizes, shots, BENCHMARKS[task].draws_one_more)
    assert [a.position for a in asked[: len(order)]] == order
    assert list(asked[0].shots[: len(first)]) == first
    assert _sha16([a.position for a in asked]) == order_sha16
    assert _sha16([list(a.shots) for a in asked]) == shots_sha16


def test_without_shots_nothing_is_drawn() -> None:
    for protocol in PROTOCOLS.values():
        assert {a.shots for a in order_and_draw(protocol, 20, 0, 0, True)} == {()}


def _mmlu(sizes: dict[str, int]) -> list[Item]:
    names = [(subject, place) for subject, size in sizes.items() for place in range(size)]
    return [
        Item(position, f"{subject}/{place}", f"{subject} {place}\nAnswer:", ("A", "B", "C", "D"), 1, category=subject)
        for position, (subject, place) in enumerate(names)
    ]


def test_each_subject_of_mmlu_has_the_first_examples_of_its_own_and_subjects_take_turns() -> None:
    items, pool = _mmlu({"law": 3, "world_religions": 1, "art": 2}), _mmlu({"art": 5, "law": 5, "world_religions": 5})
    asked = asked_in_order(LM_EVAL, MMLU, items, pool, 2)
    assert [(items[a.position].id, a.shots) for a in asked] == [
        ("law/0", (5, 6)), ("world_religions/0", (10, 11)), ("art/0", (0, 1)),
        ("law/1", (5, 6)), ("art/1", (0, 1)), ("law/2", (5, 6)),
    ]  # fmt: skip
    assert asked_in_order(OPENLLM, MMLU, items, pool, 2) == asked
    assert {a.shots for a in asked_in_order(LM_EVAL, MMLU, items, [], 0)} == {()}
    with pytest.raises(Refusal, match="mmlu has 5 examples of law; lower --shots from 6"):
        asked_in_order(LM_EVAL, MMLU, items, pool, 6)


def test_the_leaderboard_shuffles_each_subject_by_itself() -> None:
    items, pool = _mmlu({"law": 10, "art": 10}), _mmlu({"law": 5, "art": 5})
    asked = asked_in_order(LEADERBOARD, MMLU, items, pool, 5)
    expected = [7, 3, 2, 8, 5, 6, 9, 4, 0, 1]  # Random(42) on ten
    assert [items[a.position].id for a in asked] == [f"{name}/{n}" for n in expected for name in ("law", "art")]
    assert [a.shots for a in asked[:2]] == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]


def test_other_tasks_are_asked_as_their_harness_draws() -> None:
    items, pool = [Item(n, str(n), "", ("a", "b"), 0) for n in range(30)], _mmlu({"": 50})
    for task in (BENCHMARKS["hellaswag"], BENCHMARKS["arc_easy"]):
        assert asked_in_order(LM_EVAL, task, items, pool, 4) == order_and_draw(LM_EVAL, 30, 50, 4, task.draws_one_more)
    assert asked_in_order(LM_EVAL, BENCHMARKS["hellaswag"], items, pool, 4) != asked_in_order(
        OPENLLM, BENCHMARKS["hellaswag"], items, pool, 4
    )


def test_the_rule_for_shots_is_known_for_the_receipt() -> None:
    rules = {(p.name, name): shot_rule(p, BENCHMARKS[name]) for p in PROTOCOLS.values() for name in BENCHMARKS}
    one_more = {key for key, rule in rules.items() if rule == "drawn_one_more"}
    assert one_more == {("lm-eval-0.4", "hellaswag"), ("lm-eval-0.4", "winogrande")}
    assert {key[1] for key, rule in rules.items() if rule == "first_of_category"} == {"mmlu"}


def test_protocols_differ_where_their_harnesses_do() -> None:
    assert [p.empty_context for p in (LM_EVAL, OPENLLM, LEADERBOARD)] == ["bos_or_eos", "bos_or_eos", "eos"]
    assert [p.category_mean for p in (LM_EVAL, OPENLLM, LEADERBOARD)] == [False, False, True]
    assert [p.special_tokens for p in (LM_EVAL, OPENLLM, LEADERBOARD)] == [True, True, False]


def test_mmlu_names_its_subject_in_words_before_everything() -> None:
    shot, item = (Item(n, str(n), f"Q{n}\nAnswer:", ("A", "B"), n, category="us_foreign_policy") for n in range(2))
    opening = "The following are multiple choice questions (with answers) about us foreign policy.\n\n"
    assert build_context(MMLU, item, []) == f"{opening}Q1\nAnswer:"
    assert build_context(MMLU, item, [shot]) == f"{opening}Q0\nAnswer: A\n\nQ1\nAnswer:"


def test_what_is_read_and_what_is_scored_are_told_apart() -> None:
    plain = Item(0, "0", "1+1?\nAnswer:", ("2", "3"), 0)
    assert requests_of(BENCHMARKS["arc_easy"], plain, "shots\n\n1+1?\nAnswer:") == [
        ("shots\n\n1+1?\nAnswer:", " 2"), ("shots\n\n1+1?\nAnswer:", " 3"),
    ]  # fmt: skip
    gap = Item(0, "0", "Ann thanked Bea since ", ("had helped.", "had helped."), 1, stems=("Ann", "Bea"))
    context = build_context(WINOGRANDE, gap, [gap])
    assert requests_of(WINOGRANDE, gap, context) == [
        (f"Ann thanked Bea since Bea had helped.\n\nAnn thanked Bea since {name}", " had helped.")
        for name in ("Ann", "Bea")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "category", "protocol", "shots", "count", "sha256"),
    [
        ("mmlu", "virology", "lm-eval-0.4", 0, 664, "9a099d3c7a0192e89fa521452feaeb488790885e6a4a74d293d769c67886a6ca"),
        ("mmlu", "virology", "lm-eval-0.4", 5, 664, "95c5d795603dc8a5f1b20dfbfeccd764f8369f74d9e1a1d62703be82bfd18a91"),
        ("mmlu", "us_foreign_policy", "lm-eval-0.4-openllm", 5, 400,
         "33220206b4d08a4c2640dc10c258e759f7ad964b9720cafebeb8b0026c0b5965"),
        ("winogrande", "", "lm-eval-0.4", 0, 2534, "2cc3cecbcee61b541a4e75ca0e270c190016b847772717936d51154c5100f834"),
        ("winogrande", "", "lm-eval-0.4", 5, 2534, "70d70bf5e14dfdb89295e33cd24e59309776c0ed1dc2fad21865959738c9ead8"),
        ("winogrande", "", "lm-eval-0.4-openllm", 5, 2534,
         "3264daf39ad47a727c8f047166a1b8be705a7b82f88dd4928e1715d8e4034886"),
    ],
)  # fmt: skip
def test_real_requests_are_those_of_lm_eval(
    shared_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, name: str, category: str, protocol: str, shots: int,
    count: int, sha256: str,
) -> None:  # fmt: skip
    """Every context and continuation, against what lm-eval 0.4.13 built from the same files."""
    monkeypatch.delenv("CARRARA_BENCHMARKS", raising=False)
    task = BENCHMARKS[name]
    assert task.read_train is not None
    items = task.read(find_benchmark(shared_workspace, task.file, None, Silent()).path)
    pool = task.read_train(find_benchmark(shared_workspace, str(task.train_file), None, Silent()).path)
    requests = [
        request
        for asked in asked_in_order(PROTOCOLS[protocol], task, items, pool, shots)
        if (item := items[asked.position]).category == category
        for request in requests_of(task, item, build_context(task, item, [pool[shot] for shot in asked.shots]))
    ]
    assert len(requests) == count
    assert hashlib.sha256(json.dumps(requests).encode()).hexdigest() == sha256


def test_the_truthfulqa_prompt_is_the_published_one() -> None:
    task = BENCHMARKS["truthfulqa_mc1"]
    prompt = build_context(task, Item(0, "0", "Q: QQ\nA:", ("x",), 0), [])
    assert len(prompt) == 583
    digest = hashlib.sha256(prompt.encode()).hexdigest()
    assert digest == "0380195ad36743f51bd7fe4b472f52b7b7301d5f730cc1fd89874c47518c8f97"


def test_shots_stand_before_the_question() -> None:
    task = BENCHMARKS["arc_easy"]
    shot = Item(0, "a", "Question: 1+1?\nAnswer:", ("2", "3"), 0)
    item = Item(1, "b", "Question: 2+2?\nAnswer:", ("4", "5"), 0)
    assert build_context(task, item, [shot]) == "Question: 1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer:"


def test_shots_are_the_protocols_unless_the_user_says() -> None:
    challenge, truthful = BENCHMARKS["arc_challenge"], BENCHMARKS["truthfulqa_mc2"]
    assert (shots_for(challenge, LEADERBOARD, None), shots_for(challenge, LM_EVAL, None)) == (25, 0)
    assert shots_for(challenge, LM_EVAL, 5) == 5
    expected = {"arc_challenge": 25, "hellaswag": 10, "mmlu": 5}
    for protocol, more in ((LEADERBOARD, {}), (OPENLLM, {"winogrande": 5})):
        found = {name: shots_for(task, protocol, None) for name, task in BENCHMARKS.items()}
        assert {name: shots for name, shots in found.items() if shots} == expected | more
    assert not any(shots_for(task, LM_EVAL, None) for task in BENCHMARKS.values())
    with pytest.raises(Refusal, match="six examples"):
        shots_for(truthful, LM_EVAL, 5)
    with pytest.raises(Refusal, match="known are"):
        find_protocol("lm-eval-9")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" a [title] b", "a. b"),
        ("x [header] y", "x y"),
        ("end [step] ", "end "),
        ("one  two   three", "one two  three"),
    ],
)
def test_hellaswag_is_cleaned_in_the_harness_order(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_the_real_splits_have_their_sizes(benchmark_folder: Path) -> None:
    sizes = {"arc_easy": 2376, "arc_challenge": 1172, "hellaswag": 10042, "truthfulqa_mc1": 817, "truthfulqa_mc2": 817}
    for name, size in sizes.items():
        task = BENCHMARKS[name]
        items = task.read(benchmark_folder / task.file)
        assert len(items) == size
        assert all(0 <= item.gold < len(item.choices) for item in items)
        if name == "truthfulqa_mc1":
            assert {item.gold for item in items} == {0}
