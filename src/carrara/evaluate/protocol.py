"""Protocols: the exact rules of published scores, as data, with their few-shot draws.

`lm-eval-0.4`: EleutherAI's harness 0.4.13. `leaderboard-2023-10`: the same harness at commit b281b09,
with which the Open LLM Leaderboard of October 2023 was made.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from carrara.errors import Refusal
from carrara.tasks.task import Item, Task


@dataclass(frozen=True)
class Protocol:
    """`special_tokens`: whether the tokenizer may add its BOS. `truth_labels`: how mc2 finds the true choices."""

    name: str
    seed: int
    shuffled: bool  # questions are shuffled, and the same generator then draws the shots
    special_tokens: bool
    truth_labels: Literal["mask", "split_at_first_false"]


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("lm-eval-0.4", 1234, shuffled=False, special_tokens=True, truth_labels="mask"),
        Protocol("leaderboard-2023-10", 42, shuffled=True, special_tokens=False, truth_labels="split_at_first_false"),
    )
}


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


def order_and_draw(protocol: Protocol, items: int, pool: int, shots: int, draws_one_more: bool) -> list[Asked]:
    """The order in which a split is asked, and each question's shots, exactly as the protocol's harness draws them."""
    generator = random.Random(protocol.seed)
    order = list(range(items))
    if protocol.shuffled:
        generator.shuffle(order)
        return [Asked(position, tuple(generator.sample(range(pool), shots))) for position in order]
    extra = 1 if draws_one_more and shots else 0
    return [Asked(position, tuple(generator.sample(range(pool), shots + extra)[:shots])) for position in order]


def shots_for(task: Task, protocol: Protocol, wanted: int | None) -> int:
    """The number of examples before a question; raises Refusal where the task fixes it otherwise."""
    if task.shots_fixed and wanted:
        raise Refusal(f"{task.name} is always asked with its own six examples; leave --shots away.")
    return task.shots.get(protocol.name, 0) if wanted is None else wanted


def build_context(task: Task, item: Item, shots: Sequence[Item]) -> str:
    """All the text before an answer."""
    return task.preamble + "".join(f"{shot.as_shot()}\n\n" for shot in shots) + item.context
