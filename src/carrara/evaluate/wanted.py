"""What is to be scored: the tasks that can be had, and for each model everything that moves its scores on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.evaluate.ask import Questions, ask, require_able
from carrara.evaluate.heldout import require_heldout, require_unlearned
from carrara.evaluate.latency import this_machine
from carrara.evaluate.protocol import Protocol, find_protocol
from carrara.evaluate.written import rules_of_heldout
from carrara.models import Model
from carrara.models.load import load_tokenizer
from carrara.models.machine import choose_device, choose_dtype
from carrara.progress import Advance, Progress
from carrara.recipe import EvaluateRecipe
from carrara.tasks import HELDOUT_ANSWERS, LATENCY, OF_DATASET, WITHOUT_QUESTIONS, is_own, task_names
from carrara.workspace import Workspace, artefact_id

FORMAT = 10  # raised when the same inputs would give other scores


@dataclass(frozen=True)
class Tasks:
    """What models are asked: `order` names the tasks, of which `ready` holds those that have questions.

    `missing` tells, per task that cannot be had, how to provide it. `answers` is how many held-out prompts are to be
    answered, None for all. `measured` is when latency is, which is never taken from before.
    """

    protocol: Protocol
    order: tuple[str, ...]
    ready: Mapping[str, Questions]
    missing: Mapping[str, str]
    heldout: Dataset | None
    not_near: Dataset | None
    answers: int | None
    measured: str


@dataclass(frozen=True)
class Wanted:
    """The scores of one model on all tasks but those `missing`; `place` is its place among the models given."""

    place: int
    model: Model
    dtype: str
    adds_special_tokens: bool
    tasks: Tasks
    missing: Mapping[str, str]
    progress: Progress

    @property
    def asked(self) -> list[str]:
        """The tasks that are left, in their order."""
        return [name for name in self.tasks.order if name not in self.missing]

    @property
    def heldout(self) -> Dataset | None:
        """The dataset, if a task is about it."""
        return self.tasks.heldout if set(OF_DATASET) & set(self.asked) else None

    def receipt(self) -> dict[str, Any]:
        """Every field that moves the numbers."""
        tasks, held = self.tasks, self.heldout
        rules = {name: tasks.ready[name].receipt for name in self.asked if name in tasks.ready}
        if HELDOUT_ANSWERS in self.asked:
            rules[HELDOUT_ANSWERS] = rules_of_heldout(tasks.answers)
        return {
            "format": FORMAT,
            **self.model.identity(),
            "model_name": self.model.name,
            "protocol": asdict(tasks.protocol),
            "adds_special_tokens": self.adds_special_tokens,
            "dtype": self.dtype,
            "device": choose_device().type,
            "versions": {name: version(name) for name in ("torch", "transformers")},
            "tasks": rules,
            "heldout": {"dataset": held.artefact.digest, "render": held.render} if held else None,
            "skipped_near_copies_of": tasks.not_near.artefact.digest if tasks.not_near else None,
            **({"machine": this_machine(), "measured": tasks.measured} if LATENCY in self.asked else {}),
        }

    def made_by(self) -> dict[str, Any]:
        """What determines the scores, whatever the model is called."""
        return {key: value for key, value in self.receipt().items() if key != "model_name"} | {"order": self.asked}

    def stands(self, workspace: Workspace) -> bool:
        """Whether these scores were made before."""
        return workspace.find("scores", artefact_id("scores", self.made_by())) is not None


@dataclass(frozen=True)
class _Named:
    """The Progress of one of several models."""

    progress: Progress
    name: str

    def say(self, sentence: str) -> None:
        self.progress.say(f"{self.name}: {sentence}")

    def track(self, label: str, total: int, unit: str, done: int = 0) -> AbstractContextManager[Advance]:
        return self.progress.track(f"{self.name}: {label}", total, unit, done)


def gather(
    workspace: Workspace,
    recipe: EvaluateRecipe,
    heldout: Dataset | None,
    not_near: Dataset | None,
    progress: Progress,
) -> Tasks:
    """Read the tasks of a recipe, each once; raises Refusal for a protocol or a task that nobody knows."""
    protocol = find_protocol(recipe.protocol)
    order: list[str] = []
    ready: dict[str, Questions] = {}
    missing: dict[str, str] = {}
    for name in _names(recipe.tasks):
        try:
            if name in OF_DATASET:
                require_heldout(heldout)
            if name in WITHOUT_QUESTIONS:
                order.append(name)
                continue
            asked = ask(workspace, name, protocol, recipe, not_near, progress)
            if asked.task.name in ready:
                raise Refusal(f"there are two tasks '{asked.task.name}'; rename one of them.")
            ready[asked.task.name] = asked
            order.append(asked.task.name)
        except Refusal as refusal:
            leave_out(missing, name, refusal, progress)
    answers = recipe.limits.get(HELDOUT_ANSWERS, recipe.limit)
    measured = datetime.now(UTC).isoformat()
    return Tasks(protocol, tuple(order), ready, missing, heldout, not_near, answers, measured)


def leave_out(missing: dict[str, str], task: str, refusal: Refusal, progress: Progress) -> None:
    """Say, and keep in `missing`, why a task is left out."""
    missing[task] = str(refusal)
    progress.say(f"{task} is left out: {refusal}")


def wanted_of(
    workspace: Workspace, models: Sequence[Model], tasks: Tasks, dtype: str, progress: Progress
) -> list[Wanted]:
    """What is wanted of each model: the tasks, but for those that it cannot do and held-out rows that it learned.

    What is said of one of several models begins with its name.
    """
    precision = str(choose_dtype(dtype)).removeprefix("torch.")
    wanted: list[Wanted] = []
    for place, model in enumerate(models):
        own = _Named(progress, model.name) if len(models) > 1 else progress
        missing = dict(tasks.missing)
        for name in tasks.order:
            try:
                require_able(model, tasks.ready[name].task if name in tasks.ready else None)
                require_unlearned(workspace, model, tasks.heldout if name in OF_DATASET else None)
            except Refusal as refusal:
                leave_out(missing, name, refusal, own)
        adds_special_tokens = bool(load_tokenizer(model)("")["input_ids"])
        wanted.append(Wanted(place, model, precision, adds_special_tokens, tasks, missing, own))
    return wanted


def _names(tasks: Sequence[str]) -> list[str]:
    """The tasks that the user means, each once; task files by their paths."""
    return list(dict.fromkeys(name for task in tasks for name in ([task] if is_own(task) else task_names([task]))))
