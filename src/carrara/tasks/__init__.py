"""The benchmark tasks, one short file each."""

from collections.abc import Sequence

from carrara.errors import Refusal
from carrara.tasks.arc import ARC_CHALLENGE, ARC_EASY
from carrara.tasks.hellaswag import HELLASWAG
from carrara.tasks.ifeval import IFEVAL
from carrara.tasks.mmlu import MMLU
from carrara.tasks.stsb import STSB
from carrara.tasks.task import Task
from carrara.tasks.truthfulqa import TRUTHFULQA_GEN, TRUTHFULQA_MC1, TRUTHFULQA_MC2
from carrara.tasks.winogrande import WINOGRANDE

# No benchmarks, but the dataset's own test split: how well its answers are foretold, and what the model writes instead.
HELDOUT, HELDOUT_ANSWERS = "heldout", "heldout_answers"
OF_DATASET = (HELDOUT, HELDOUT_ANSWERS)
LATENCY = "latency"  # how fast the model answers on this machine
WITHOUT_QUESTIONS = (*OF_DATASET, LATENCY)

BENCHMARKS: dict[str, Task] = {
    task.name: task
    for task in (
        ARC_EASY,
        ARC_CHALLENGE,
        HELLASWAG,
        TRUTHFULQA_MC1,
        TRUTHFULQA_MC2,
        TRUTHFULQA_GEN,
        MMLU,
        WINOGRANDE,
        IFEVAL,
        STSB,
    )
}
FAMILIES: dict[str, tuple[str, ...]] = {
    "arc": (ARC_EASY.name, ARC_CHALLENGE.name),
    "truthfulqa": (TRUTHFULQA_MC1.name, TRUTHFULQA_MC2.name),
}

__all__ = [
    "BENCHMARKS",
    "FAMILIES",
    "HELDOUT",
    "HELDOUT_ANSWERS",
    "LATENCY",
    "OF_DATASET",
    "WITHOUT_QUESTIONS",
    "is_own",
    "task_names",
]


def is_own(name: str) -> bool:
    """Whether the name of a task is the path of a user's task file."""
    return name.endswith((".yaml", ".yml"))


def task_names(names: Sequence[str]) -> list[str]:
    """The tasks that names of tasks and families stand for, each once; raises Refusal for one unknown."""
    known = [*BENCHMARKS, *WITHOUT_QUESTIONS]
    found = [member for name in names for member in FAMILIES.get(name, (name,))]
    if unknown := [name for name in found if name not in known]:
        raise Refusal(f"there is no task '{unknown[0]}'; known are {', '.join([*known, *FAMILIES])}.")
    return list(dict.fromkeys(found))
