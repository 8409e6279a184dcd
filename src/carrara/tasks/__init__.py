"""The benchmark tasks, one short file each."""

from carrara.tasks.arc import ARC_CHALLENGE, ARC_EASY
from carrara.tasks.hellaswag import HELLASWAG
from carrara.tasks.task import Task
from carrara.tasks.truthfulqa import TRUTHFULQA_MC1, TRUTHFULQA_MC2

HELDOUT = "heldout"  # not a benchmark: the dataset's own test split

BENCHMARKS: dict[str, Task] = {
    task.name: task for task in (ARC_EASY, ARC_CHALLENGE, HELLASWAG, TRUTHFULQA_MC1, TRUTHFULQA_MC2)
}

__all__ = ["BENCHMARKS", "HELDOUT"]
