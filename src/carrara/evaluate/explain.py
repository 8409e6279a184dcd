"""Why a score is not the one that a protocol would give: the rules that differ, and what each of them moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from carrara.errors import Refusal
from carrara.evaluate.metrics import Figure, figures, truth_mass
from carrara.evaluate.protocol import Protocol, shot_rule, shots_for
from carrara.evaluate.scores import Record, Scores
from carrara.evaluate.wanted import FORMAT
from carrara.tasks import BENCHMARKS
from carrara.tasks.task import Task

_AGAIN = "moves the score; evaluate again with that protocol"
_HERE = "moves the score; told below"
_NOTHING = "moves nothing"


@dataclass(frozen=True)
class Difference:
    """A rule under which a task was scored, and the protocol's; `effect` says what it moves."""

    task: str
    rule: str
    found: str
    wanted: str
    effect: str


@dataclass(frozen=True)
class Explanation:
    """The rules that differ, and the figures as far as they follow from what was scored.

    `told` are figures under the protocol's rules, for tasks that nothing else separates from it.
    """

    differences: list[Difference]
    told: list[Figure]


def explain(scores: Scores, protocol: Protocol) -> Explanation:
    """What separates scores from a protocol; raises Refusal for scores of no benchmark or of another version."""
    if scores.receipt.get("format") != FORMAT:
        raise Refusal("these scores were made by another version, whose receipt says less; evaluate the model again.")
    asked = [task for task in scores.tasks() if task in BENCHMARKS]
    if not asked:
        raise Refusal("these scores are of no benchmark, and no protocol has rules for them.")
    differences = [found for task in asked for found in _differences(scores.receipt, BENCHMARKS[task], protocol)]
    told: list[Figure] = []
    for task in asked:
        effects = {found.effect for found in differences if found.task == task}
        if _HERE in effects and _AGAIN not in effects:
            told += figures([_under(record, protocol) for record in scores.of(task)], protocol, BENCHMARKS[task])
    return Explanation(differences, told)


def _differences(receipt: Mapping[str, Any], task: Task, protocol: Protocol) -> Iterator[Difference]:
    own, rules = receipt["tasks"][task.name], receipt["protocol"]
    shots, part = shots_for(task, protocol, None), own["items"] < own["of"]

    def difference(rule: str, found: Any, wanted: Any, effect: str) -> Iterator[Difference]:
        if found != wanted:
            yield Difference(task.name, rule, str(found), str(wanted), effect)

    yield from difference("examples before a question", own["shots"], shots, _AGAIN)
    if own["shots"] and shots:
        drawn = (own["shot_rule"], rules["seed"], rules["shuffled"])
        wanted = (shot_rule(protocol, task), protocol.seed, protocol.shuffled)
        moved = _NOTHING if own["shot_rule"] == wanted[0] == "first_of_category" else _AGAIN
        yield from difference("how examples are drawn", _draw(*drawn), _draw(*wanted), moved)
    order = _order(rules["seed"], rules["shuffled"]), _order(protocol.seed, protocol.shuffled)
    yield from difference("order of the questions", *order, _AGAIN if part else _NOTHING)
    yield from difference("questions asked", own["items"], own["of"], _AGAIN)
    is_plain = task.kind != "pairs" and not task.is_chat
    added = _AGAIN if receipt["adds_special_tokens"] and is_plain else _NOTHING
    yield from difference("special tokens", rules["special_tokens"], protocol.special_tokens, added)
    yield from difference("asked through the chat template", task.is_chat, False, _AGAIN)
    if task.kind == "truth_mass":
        yield from difference("which answers are true", rules["truth_labels"], protocol.truth_labels, _HERE)
    if task.has_category_mean:
        yield from difference("mean over subjects", rules["category_mean"], protocol.category_mean, _HERE)


def _draw(rule: str, seed: int, shuffled: bool) -> str:
    if rule == "first_of_category":
        return "the first of each subject"
    more = ", one more than are used" if rule == "drawn_one_more" else ""
    return f"seed {seed}, {'behind the shuffled questions' if shuffled else 'in their order'}{more}"


def _order(seed: int, shuffled: bool) -> str:
    return f"shuffled, seed {seed}" if shuffled else "as in the file"


def _under(record: Record, protocol: Protocol) -> Record:
    """The record as the protocol's rules make it of the same log-likelihoods."""
    if record.correct is not None:
        return record
    return replace(record, value=truth_mass(record.loglikelihoods, tuple(record.labels), protocol))
