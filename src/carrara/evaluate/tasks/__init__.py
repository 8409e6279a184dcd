"""The benchmark tasks, one short file each."""

from carrara.evaluate.task import Task
from carrara.evaluate.tasks.arc import ARC_CHALLENGE, ARC_EASY
from carrara.evaluate.tasks.hellaswag import HELLASWAG
from carrara.evaluate.tasks.truthfulqa import TRUTHFULQA_MC1, TRUTHFULQA_MC2

HELDOUT = "heldout"  # not a benchmark: the dataset's own test split

BENCHMARKS: dict[str, Task] = {
    task.name: task for task in (ARC_EASY, ARC_CHALLENGE, HELLASWAG, TRUTHFULQA_MC1, TRUTHFULQA_MC2)
}

__all__ = ["BENCHMARKS", "HELDOUT"]
