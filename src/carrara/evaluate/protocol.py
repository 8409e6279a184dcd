"""Protocols: the exact rules of published scores, as data, with their few-shot draws.

`lm-eval-0.4`: EleutherAI's harness 0.4.13, a task called by its own name. `lm-eval-0.4-openllm`: the same, called
through its group `openllm`. `leaderboard-2023-10`: the same harness at commit b281b09, with which the Open LLM
Leaderboard of October 2023 was made.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from carrara.errors import Refusal
from carrara.tasks.task import Item, Task

ShotRule = Literal["drawn", "drawn_one_more", "first_of_category"]


@dataclass(frozen=True)
class Protocol:
    """The rules of one harness that move numbers; all of them belong into the receipt of scores."""

    name: str
    seed: int
    shuffled: bool  # questions are shuffled, and the same generator then draws the shots
    draws_one_more: bool  # n + 1 shots are drawn, and n used, where a task's split is taken to be its own pool
    special_tokens: bool  # whether the tokenizer may add its BOS
    empty_context: Literal["bos_or_eos", "eos"]  # what a model reads where there is nothing to read
    truth_labels: Literal["mask", "split_at_first_false"]  # how mc2 finds the true choices
    category_mean: bool  # MMLU is the mean of its subjects' scores, however many questions each has


_LM_EVAL = Protocol(
    name="lm-eval-0.4",
    seed=1234,
    shuffled=False,
    draws_one_more=True,
    special_tokens=True,
    empty_context="bos_or_eos",
    truth_labels="mask",
    category_mean=False,
)
_LEADERBOARD = Protocol(
    name="leaderboard-2023-10",
    seed=42,
    shuffled=True,
    draws_one_more=False,
    special_tokens=False,
    empty_context="eos",
    truth_labels="split_at_first_false",
    category_mean=True,
)
_OPENLLM = replace(_LM_EVAL, name="lm-eval-0.4-openllm", draws_one_more=False)

PROTOCOLS = {protocol.name: protocol for protocol in (_LM_EVAL, _LEADERBOARD, _OPENLLM)}


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; raises Refusal with the known ones."""
    if name not in PROTOCOLS:
        raise Refusal(f"there is no protocol '{name}'; known are {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


@dataclass(frozen=True)
class Asked:
    """An item with the positions of its examples in the train split."""

    position: int
    shots: tuple[int, ...]


def shots_for(task: Task, protocol: Protocol, wanted: int | None) -> int:
    """The number of examples before a question; raises Refusal where the task fixes it otherwise."""
    if task.shots_fixed and wanted:
        raise Refusal(f"{task.name} is always asked with its own six examples; leave --shots away.")
    return task.shots.get(protocol.name, 0) if wanted is None else wanted


def shot_rule(protocol: Protocol, task: Task) -> ShotRule:
    """How a task's examples are chosen under a protocol; belongs into the receipt of scores."""
    if task.shots_are == "drawn":
        return "drawn_one_more" if protocol.draws_one_more and task.draws_one_more else "drawn"
    return task.shots_are


def asked_in_order(
    protocol: Protocol, task: Task, items: Sequence[Item], pool: Sequence[Item], shots: int
) -> list[Asked]:
    """The order in which a task's items are asked, and each one's examples out of the pool, by position.

    Raises Refusal if a category has fewer examples than wanted.
    """
    if task.shots_are == "first_of_category":
        return _ask_categories(protocol, task, items, pool, shots)
    return order_and_draw(protocol, len(items), len(pool), shots, task.draws_one_more)


def order_and_draw(protocol: Protocol, items: int, pool: int, shots: int, draws_one_more: bool) -> list[Asked]:
    """The order in which a split is asked, and each question's shots, exactly as the protocol's harness draws them."""
    generator = random.Random(protocol.seed)
    order = list(range(items))
    if protocol.shuffled:
        generator.shuffle(order)
    extra = 1 if protocol.draws_one_more and draws_one_more and shots else 0
    return [Asked(position, tuple(generator.sample(range(pool), shots + extra)[:shots])) for position in order]


def _ask_categories(
    protocol: Protocol, task: Task, items: Sequence[Item], pool: Sequence[Item], shots: int
) -> list[Asked]:
    """Each category is a task of its own in the harnesses, with an order of its own and the first examples of the pool.

    The categories take turns, so that the first k times c questions of c categories are those that the harness asks
    when it is limited to k.
    """
    members: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        members.setdefault(item.category, []).append(place)
    if protocol.shuffled:
        for places in members.values():
            random.Random(protocol.seed).shuffle(places)
    examples = {category: _first_of(task, category, pool, shots) for category in members}
    return [
        Asked(place, shown)
        for turn in zip_longest(*members.values())
        for place, shown in zip(turn, examples.values(), strict=True)
        if place is not None
    ]


def _first_of(task: Task, category: str, pool: Sequence[Item], shots: int) -> tuple[int, ...]:
    found = [place for place, example in enumerate(pool) if example.category == category][:shots]
    if len(found) < shots:
        raise Refusal(f"{task.name} has {len(found)} examples of {category}; lower --shots from {shots}.")
    return tuple(found)


def build_context(task: Task, item: Item, shots: Sequence[Item]) -> str:
    """All the text before an answer, or before its stem where the item has stems."""
    preamble = task.preamble.replace("{category}", item.category.replace("_", " "))
    examples = "".join(f"{shot.as_shot(task.target_delimiter)}{task.shot_delimiter}" for shot in shots)
    return preamble + examples + item.context


def requests_of(task: Task, item: Item, context: str) -> list[tuple[str, str]]:
    """For each choice the text that a model reads and the text that is scored behind it, given all before an answer."""
    return [(context + item.stem(place), task.target_delimiter + choice) for place, choice in enumerate(item.choices)]
