"""The benchmark tasks, one short file each."""

from collections.abc import Sequence

from carrara.errors import Refusal
from carrara.tasks.arc import ARC_CHALLENGE, ARC_EASY
from carrara.tasks.hellaswag import HELLASWAG
from carrara.tasks.mmlu import MMLU
from carrara.tasks.stsb import STSB
from carrara.tasks.task import Task
from carrara.tasks.truthfulqa import TRUTHFULQA_MC1, TRUTHFULQA_MC2
from carrara.tasks.winogrande import WINOGRANDE

HELDOUT = "heldout"  # not a benchmark: the dataset's own test split
LATENCY = "latency"  # not a benchmark: how fast the model answers on this machine

BENCHMARKS: dict[str, Task] = {
    task.name: task
    for task in (ARC_EASY, ARC_CHALLENGE, HELLASWAG, TRUTHFULQA_MC1, TRUTHFULQA_MC2, MMLU, WINOGRANDE, STSB)
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "arc": (ARC_EASY.name, ARC_CHALLENGE.name),
    "truthfulqa": (TRUTHFULQA_MC1.name, TRUTHFULQA_MC2.name),
}

__all__ = ["BENCHMARKS", "FAMILIES", "HELDOUT", "LATENCY", "task_names"]


def task_names(names: Sequence[str]) -> list[str]:
    """The tasks that names of tasks and families stand for, each once; raises Refusal for one unknown."""
    known = [*BENCHMARKS, HELDOUT, LATENCY]
    found = [member for name in names for member in FAMILIES.get(name, (name,))]
    if unknown := [name for name in found if name not in known]:
        raise Refusal(f"there is no task '{unknown[0]}'; known are {', '.join([*known, *FAMILIES])}.")
    return list(dict.fromkeys(found))
