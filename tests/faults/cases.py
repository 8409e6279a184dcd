"""Every fault in every format, and set-ups with nothing wrong; each case is made from its name and a seed alone."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from tests.faults import cut_faults, learning_faults, row_faults, step_faults, template_faults
from tests.faults.ground import DoesNotApply, Outcome, TrainerFault, UserFault, healthy, judge
from tests.faults.rows import SHAPES
from tests.faults.templates import KITS, Kit

Sort = Literal["user", "trainer", "none"]

USER: Mapping[str, UserFault] = {**template_faults.FAULTS, **row_faults.FAULTS}
TRAINER: Mapping[str, TrainerFault] = {**step_faults.FAULTS, **learning_faults.FAULTS, **cut_faults.FAULTS}
# Methods with what else a recipe may say of them.
METHODS: tuple[dict[str, Any], ...] = (
    {"method": "lora"},
    {"method": "lora", "rslora": True, "dropout": 0.1, "alpha": 4.0},
    {"method": "lora", "dora": True, "targets": ["q_proj", "v_proj"]},
    {"method": "lora", "pissa": True, "lora_plus": 4.0},
    {"method": "lora", "new_tokens": ["<|tool|>"], "weight_decay": 0.1, "schedule": "cosine"},
    {"method": "full", "schedule": "constant", "epochs": 3},
    {"method": "ia3"},
    {"method": "prefix", "virtual_tokens": 4},
    {"method": "prompt", "virtual_tokens": 4},
)
BATCHINGS: tuple[dict[str, Any], ...] = (
    {"batching": "sorted", "micro_batch_tokens": 512},
    {"batching": "packed", "micro_batch_tokens": 1024},
    {"batching": "sorted", "micro_batch_tokens": 512, "dtype": "bfloat16"},
)


@dataclass(frozen=True)
class Case:
    """A fault (or none) in a format; for none, `name` is the shape of the rows and `tune` the recipe."""

    sort: Sort
    name: str
    kit: int
    seed: int
    tune: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Result:
    """`outcome` is None where the fault cannot be made in the format."""

    case: Case
    outcome: Outcome | None


def fault_cases(seed: int, formats: int = len(KITS)) -> list[Case]:
    """Each fault in so many formats; with fewer than all, they take turns."""
    kinds: dict[Sort, Iterable[str]] = {"user": USER, "trainer": TRAINER}
    faults: list[tuple[Sort, str]] = [(sort, name) for sort, names in kinds.items() for name in names]
    return [
        Case(sort, name, (number + turn * 5 + seed) % len(KITS), seed)
        for number, (sort, name) in enumerate(faults)
        for turn in range(len(KITS))
        if turn < formats
    ]


def healthy_cases(seed: int, count: int) -> list[Case]:
    """Formats, methods, batchings and shapes of rows, evenly over all their combinations, in an order by chance."""
    every = list(product(range(len(KITS)), METHODS, BATCHINGS, SHAPES))
    chosen = random.Random(seed).sample(every, min(count, len(every)))
    return [
        Case("none", shape, kit, seed, tuple(_frozen(method | batching).items()))
        for kit, method, batching, shape in chosen
    ]


def _frozen(tune: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in tune.items()}


def run_case(case: Case) -> Result:
    """Make the case and see what becomes of it."""
    kit = KITS[case.kit]
    chance = random.Random(f"{case.seed}/{case.sort}/{case.name}/{kit.name}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Result(case, _judged(case, kit, chance, Path(folder)))
        except DoesNotApply:
            return Result(case, None)


def _judged(case: Case, kit: Kit, chance: random.Random, folder: Path) -> Outcome:
    if case.sort == "none":
        return judge(healthy(kit, chance, case.name, **dict(case.tune)), folder)
    setup = healthy(kit, chance, **BATCHINGS[chance.randrange(2)])
    if case.sort == "user":
        USER[case.name](setup, chance)
        return judge(setup, folder)
    broken = TRAINER[case.name](setup, chance)
    return judge(setup, folder, broken.before, broken.after)
