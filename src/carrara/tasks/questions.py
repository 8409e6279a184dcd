"""The bare questions of benchmarks, for looking whether training rows hold them: those of the split that judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carrara.errors import Refusal
from carrara.progress import Progress
from carrara.tasks import FAMILIES
from carrara.tasks.arc import ARC_CHALLENGE, ARC_EASY
from carrara.tasks.hellaswag import HELLASWAG
from carrara.tasks.ifeval import IFEVAL
from carrara.tasks.mmlu import MMLU
from carrara.tasks.sources import BenchmarkFile, benchmark_at_hand, find_benchmark, read_items
from carrara.tasks.task import Item
from carrara.tasks.truthfulqa import TRUTHFULQA_GEN, TRUTHFULQA_MC1, TRUTHFULQA_MC2
from carrara.tasks.winogrande import WINOGRANDE
from carrara.workspace import Workspace


@dataclass(frozen=True)
class Question:
    """A question without the words that ask it, and its choices; `gold` is None where no choice is the right one."""

    benchmark: str
    id: str
    text: str
    answers: tuple[str, ...] = ()
    gold: int | None = None


@dataclass(frozen=True)
class Against:
    """A benchmark that rows are checked against, with the digest of its file and where that came from."""

    name: str
    questions: tuple[Question, ...]
    source: str
    sha256: str


def questions_of(workspace: Workspace, names: Sequence[str], folder: Path | None, progress: Progress) -> list[Against]:
    """The questions of the named benchmarks, fetched where they must be; `arc` and `truthfulqa` name families.

    Raises Refusal if a name is unknown, or if a benchmark cannot be had, saying how to provide it.
    """
    return [
        _against(name, find_benchmark(workspace, _CHECKABLE[name].file, folder, progress))
        for name in benchmark_names(names)
    ]


def questions_at_hand(workspace: Workspace, folder: Path | None) -> tuple[list[Against], dict[str, str]]:
    """Every benchmark that can be checked against without fetching anything, and why the others cannot."""
    ready: list[Against] = []
    missing: dict[str, str] = {}
    for name, task in _CHECKABLE.items():
        try:
            ready.append(_against(name, benchmark_at_hand(workspace, task.file, folder)))
        except Refusal as refusal:
            missing[name] = str(refusal)
    return ready, missing


def benchmark_names(names: Sequence[str]) -> list[str]:
    """The benchmarks that names of tasks and families stand for, each once; raises Refusal for one unknown."""
    return list(dict.fromkeys(member for name in names for member in _members(name)))


def is_checkable(name: str) -> bool:
    """Whether rows can be looked for the questions of the task, or family, of this name."""
    return name in _CHECKABLE or name in _NAMES


def bare_questions(task: str, items: Sequence[Item]) -> list[Question]:
    """The questions of a benchmark's items, for a task or a family of one member."""
    name = _members(task)[0]
    return [Question(name, item.id, item.question, item.answers or item.choices, item.gold) for item in items]


def _members(name: str) -> tuple[str, ...]:
    """The benchmarks that a name stands for; all ways of scoring TruthfulQA ask the same questions."""
    members = (name,) if name in _CHECKABLE else _NAMES.get(name, ())
    if not members:
        raise Refusal(
            f"there is no benchmark '{name}' to check against; known are {', '.join([*_CHECKABLE, *_NAMES])}."
        )
    return members


def _against(name: str, file: BenchmarkFile) -> Against:
    items = read_items(name, file, _CHECKABLE[name].read)
    questions = tuple(bare_questions(name, items))
    if not questions:
        raise Refusal(f"{file.path} holds no question of {name}; fetch it again.")
    return Against(name, questions, file.source, file.sha256)


_CHECKABLE = {
    ARC_EASY.name: ARC_EASY,
    ARC_CHALLENGE.name: ARC_CHALLENGE,
    HELLASWAG.name: HELLASWAG,
    "truthfulqa": TRUTHFULQA_MC2,
    WINOGRANDE.name: WINOGRANDE,
    MMLU.name: MMLU,
    IFEVAL.name: IFEVAL,
}
_NAMES = {
    "arc": FAMILIES["arc"],
    TRUTHFULQA_MC1.name: ("truthfulqa",),
    TRUTHFULQA_MC2.name: ("truthfulqa",),
    TRUTHFULQA_GEN.name: ("truthfulqa",),
}
