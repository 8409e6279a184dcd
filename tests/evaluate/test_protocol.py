"""The golden few-shot draws and prompts of the published harnesses."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from carrara.errors import Refusal
from carrara.evaluate.protocol import PROTOCOLS, build_context, find_protocol, order_and_draw, shots_for
from carrara.tasks import BENCHMARKS
from carrara.tasks.hellaswag import clean
from carrara.tasks.task import Item

LM_EVAL, LEADERBOARD = PROTOCOLS["lm-eval-0.4"], PROTOCOLS["leaderboard-2023-10"]


def _sha16(values: object) -> str:
    return hashlib.sha256(json.dumps(values, separators=(",", ":")).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("items", "pool", "shots", "one_more", "first", "sha16"),
    [
        (1172, 1119, 25, False, [902, 239, 15, 185, 71, 171], "780318e3e48089c0"),
        (2376, 2251, 25, False, None, "83980bbc39e1c037"),
        (10042, 39905, 10, False, [28883, 7657, 490, 5940, 38156, 2288], "259651f2e678c4e4"),
        (10042, 39905, 10, True, None, "a796eaa6aaf2f496"),
    ],
)
def test_lm_eval_draws(items: int, pool: int, shots: int, one_more: bool, first: list[int] | None, sha16: str) -> None:
    asked = order_and_draw(LM_EVAL, items, pool, shots, one_more)
    assert [a.position for a in asked] == list(range(items))
    if first:
        assert list(asked[0].shots[:6]) == first
    assert _sha16([list(a.shots) for a in asked]) == sha16


@pytest.mark.parametrize(
    ("items", "pool", "shots", "order", "first", "order_sha16", "shots_sha16"),
    [
        (1172, 1119, 25, [595, 716, 511, 906, 148, 368], [888, 201, 205, 908], "77710299bf8a4283", "0a24fc1b76d80968"),
        (10042, 39905, 10, [9792, 1027, 5366], None, "715b7e7ff666cb12", "12b8e647da1c3d21"),
    ],
)  # fmt: skip
def test_leaderboard_draws(
    items: int, pool: int, shots: int, order: list[int], first: list[int] | None, order_sha16: str, shots_sha16: str
) -> None:
    asked = order_and_draw(LEADERBOARD, items, pool, shots, False)
    assert [a.position for a in asked[: len(order)]] == order
    if first:
        assert list(asked[0].shots[: len(first)]) == first
    assert _sha16([a.position for a in asked]) == order_sha16
    assert _sha16([list(a.shots) for a in asked]) == shots_sha16


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
