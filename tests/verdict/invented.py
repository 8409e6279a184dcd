"""Invented score tables for the tests of this folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from carrara.evaluate.scores import Record, Scores

CHOICES = ["chalk", "marble", "slate", "basalt"]


def choice(task: str, item: int, right: bool, right_norm: bool | None = None) -> Record:
    """A question with four choices whose right answer is the second; a wrong model takes the first."""
    return Record(
        task=task,
        item=item,
        id=f"{task}-{item}",
        question=f"Question {item}: which stone is quarried at Carrara?",
        choices=CHOICES,
        prompt_sha256=f"{task}-{item}",
        loglikelihoods=[-1.0, -2.0, -3.0, -4.0],
        prediction=1 if right else 0,
        gold=1,
        correct=right,
        prediction_norm=None if right_norm is None else int(right_norm),
        correct_norm=right_norm,
        value=float(right),
        gold_probability=None,
        gold_bits_per_byte=None,
        tokens=4,
        bytes=16,
        seconds=0.0,
    )


def text(task: str, item: int, value: float, tokens: int = 10, size: int = 40) -> Record:
    """An item that is not right or wrong: `value` is its total NLL in nats, or its mc2."""
    record = choice(task, item, right=False)
    gold = 0 if task == "truthfulqa_mc2" else None
    return replace(record, choices=[], prediction=None, gold=gold, correct=None, value=value, tokens=tokens, bytes=size)


def answers(task: str, right: Collection[bool], normed: Collection[bool] | None = None) -> list[Record]:
    marks = normed if normed is not None else [None] * len(right)
    return [choice(task, item, bool(flag), mark) for item, (flag, mark) in enumerate(zip(right, marks, strict=True))]


def texts(task: str, values: Iterable[float]) -> list[Record]:
    return [text(task, item, float(value)) for item, value in enumerate(values)]


def scores(*parts: Sequence[Record]) -> Scores:
    return Scores(
        [record for part in parts for record in part], {"model_name": "stone", "protocol": {"name": "lm-eval-0.4"}}
    )


def flips(task: str, n: int, won: int, lost: int, both: int | None = None) -> tuple[list[Record], list[Record]]:
    """Base and tuned answers in which `won` items flip to right, `lost` to wrong and `both` are right twice."""
    same = n // 2 if both is None else both
    before = [False] * won + [True] * lost + [True] * same + [False] * (n - won - lost - same)
    after = [True] * won + [False] * lost + [True] * same + [False] * (n - won - lost - same)
    return answers(task, before), answers(task, after)
