"""The stage: a model and some tasks become scores, item by item; a killed evaluation goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from carrara.data.dataset import Dataset
from carrara.data.render.example import context_and_continuations
from carrara.errors import Refusal
from carrara.evaluate.ask import Questions, ask
from carrara.evaluate.blocks import Scorable, cut_into_blocks, score_items
from carrara.evaluate.heldout import heldout_rows, require_heldout, require_unlearned
from carrara.evaluate.known import Known
from carrara.evaluate.metrics import Figure, below_guessing, figures, record_of_choice
from carrara.evaluate.own_task import is_own
from carrara.evaluate.protocol import Protocol, find_protocol, requests_of
from carrara.evaluate.rows import Pair, rows_of_question
from carrara.evaluate.scorer import Scored, Scorer
from carrara.evaluate.scores import Record, Scores, read_scores, write_scores
from carrara.models import Model
from carrara.models.forward import check_head
from carrara.models.load import Loaded, load_model, load_tokenizer
from carrara.models.machine import choose_device, choose_dtype, prepare_for_heavy_work
from carrara.progress import Progress
from carrara.recipe import EvaluateRecipe
from carrara.tasks import HELDOUT, task_names
from carrara.workspace import Artefact, Draft, Workspace

FORMAT = 8  # raised when the same inputs would give other scores
ITEMS = "items.parquet"
_KNOWN = "known-scores.sqlite"


@dataclass(frozen=True)
class Evaluation:
    """Finished scores with their figures. `missing` tells, per task that could not be had, how to provide it."""

    artefact: Artefact
    missing: dict[str, str]

    @property
    def path(self) -> Path:
        return self.artefact.path / ITEMS

    @property
    def scores(self) -> Scores:
        return read_scores(self.path)

    @property
    def figures(self) -> list[Figure]:
        return [Figure(**figure) for figure in self.artefact.summary["figures"]]


@dataclass(frozen=True)
class _Wanted:
    """What is to be scored: the tasks that can be had, in order; `ready` holds those that are benchmarks."""

    model: Model
    protocol: Protocol
    dtype: str
    tasks: tuple[str, ...]
    ready: dict[str, Questions]
    heldout: Dataset | None
    not_near: Dataset | None

    def receipt(self) -> dict[str, Any]:
        """Every field that moves the numbers."""
        held = self.heldout if HELDOUT in self.tasks else None
        return {
            "format": FORMAT,
            **self.model.identity(),
            "model_name": self.model.name,
            "protocol": asdict(self.protocol),
            "adds_special_tokens": bool(load_tokenizer(self.model)("")["input_ids"]),
            "dtype": self.dtype,
            "device": choose_device().type,
            "versions": {name: version(name) for name in ("torch", "transformers")},
            "tasks": {name: self.ready[name].receipt for name in self.tasks if name in self.ready},
            "heldout": {"dataset": held.artefact.digest, "render": held.render} if held else None,
            "skipped_near_copies_of": self.not_near.artefact.digest if self.not_near else None,
        }


class _TaskRefusal(Refusal):
    """A task that turned out while it was scored to be none that this model can do."""

    def __init__(self, task: str, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.task = task


def evaluate_model(
    workspace: Workspace,
    model: Model,
    recipe: EvaluateRecipe,
    progress: Progress,
    heldout: Dataset | None = None,
    not_near: Dataset | None = None,
) -> Evaluation:
    """Score a model on tasks. `heldout` gives the task of that name its rows; questions near `not_near` are skipped.

    Tasks that cannot be had or scored are named in `missing`; raises Refusal if none is left.
    """
    prepare_for_heavy_work()
    protocol = find_protocol(recipe.protocol)
    names = _names(recipe.tasks)
    require_unlearned(workspace, model, heldout if HELDOUT in names else None)
    dtype = str(choose_dtype(recipe.dtype)).removeprefix("torch.")
    order, ready, missing = _gather(workspace, names, protocol, recipe, heldout, not_near, progress)
    while asked := tuple(name for name in order if name not in missing):
        try:
            wanted = _Wanted(model, protocol, dtype, asked, ready, heldout, not_near)
            return Evaluation(_make(workspace, wanted, progress), missing)
        except _TaskRefusal as refusal:  # the others are known by now, or go on
            _leave_out(missing, refusal.task, refusal, progress)
    raise Refusal(f"nothing can be evaluated; {next(iter(missing.values()), 'name at least one task')}")


def latest_scores(name: str) -> str:
    """The alias of the scores that a model of this name was last given, made anew or found."""
    return f"latest scores of {name}"


def _names(tasks: Sequence[str]) -> list[str]:
    """The tasks that the user means, each once; task files by their paths."""
    return list(dict.fromkeys(name for task in tasks for name in ([task] if is_own(task) else task_names([task]))))


def _gather(
    workspace: Workspace,
    names: Sequence[str],
    protocol: Protocol,
    recipe: EvaluateRecipe,
    heldout: Dataset | None,
    not_near: Dataset | None,
    progress: Progress,
) -> tuple[list[str], dict[str, Questions], dict[str, str]]:
    """The tasks that can be had, those of them that are benchmarks, and for each other one how to provide it."""
    order: list[str] = []
    ready: dict[str, Questions] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            if name == HELDOUT:
                require_heldout(heldout)
                order.append(name)
                continue
            asked = ask(workspace, name, protocol, recipe, not_near, progress)
            if asked.task.name in ready:
                raise Refusal(f"there are two tasks '{asked.task.name}'; rename one of them.")
            ready[asked.task.name] = asked
            order.append(asked.task.name)
        except Refusal as refusal:
            _leave_out(missing, name, refusal, progress)
    return order, ready, missing


def _leave_out(missing: dict[str, str], task: str, refusal: Refusal, progress: Progress) -> None:
    missing[task] = str(refusal)
    progress.say(f"{task} is left out: {refusal}")


def _make(workspace: Workspace, wanted: _Wanted, progress: Progress) -> Artefact:
    """The scores as an artefact, newly made unless they stand; raises _TaskRefusal for a task that must go."""
    receipt, model = wanted.receipt(), wanted.model

    def build(draft: Draft) -> None:
        loaded = load_model(model, wanted.dtype)
        model.require_unchanged()
        check_head(loaded.network)
        with Known(workspace.root / _KNOWN, progress.say) as known:
            scorer = Scorer(loaded, known)
            began = time.monotonic()
            records = [record for name in wanted.tasks for record in _score(loaded, scorer, name, wanted, progress)]
            seconds = time.monotonic() - began
        scores = Scores(records, receipt)
        write_scores(draft.path / ITEMS, scores)
        found: list[Figure] = []
        for name in scores.tasks():
            task = wanted.ready[name].task if name in wanted.ready else None
            own = figures(scores.of(name), wanted.protocol, task)
            found += own
            for sentence in below_guessing(scores.of(name), own) if task else ():
                progress.say(sentence)
        draft.summary.update(model=model.name, seconds=seconds, figures=[asdict(figure) for figure in found])

    made_by = {key: value for key, value in receipt.items() if key != "model_name"} | {"order": wanted.tasks}
    held = wanted.heldout if HELDOUT in wanted.tasks else None
    inputs = {"model": model.source} | ({"data": held.artefact} if held else {})
    artefact = workspace.make("scores", made_by, build, name=model.name, inputs=inputs, on_wait=progress.say)
    for name in {model.name, model.source.reference}:
        workspace.index.set_alias(latest_scores(name), artefact.reference)
    return artefact


def _score(loaded: Loaded, scorer: Scorer, name: str, wanted: _Wanted, progress: Progress) -> list[Record]:
    """The records of one task."""
    try:
        if name in wanted.ready:
            asked = wanted.ready[name]
            make = partial(_choice, loaded, asked, wanted.protocol)
            return score_items(scorer, name, make, asked.wanted, asked.blocks(), progress)
        rows = heldout_rows(loaded, require_heldout(wanted.heldout), progress)
        blocks = cut_into_blocks(range(len(rows)))
        return score_items(scorer, name, rows.__getitem__, [True] * len(rows), blocks, progress)
    except Refusal as refusal:
        raise _TaskRefusal(name, refusal) from refusal


def _choice(loaded: Loaded, questions: Questions, protocol: Protocol, place: int) -> Scorable:
    """A question with its choices, ready for the scorer; raises Refusal for one that the model cannot read."""
    task, item, context = questions.task, questions.item(place), questions.context(place)
    pairs = _pairs(loaded, protocol, requests_of(task, item, context))

    def record(scored: Sequence[Scored]) -> Record:
        values = [value for found in scored for value in found.loglikelihoods]
        tokens, seconds = sum(len(answer) for _, answer in pairs), sum(found.seconds for found in scored)
        return record_of_choice(task, protocol, item, context, values, tokens, seconds, any(row.cut for row in rows))

    try:
        rows = rows_of_question(pairs, loaded.context, loaded.window)
    except ValueError as error:
        raise Refusal(
            f"{task.name}, item {item.position}: {error}; mend the item, or use a model with a longer context."
        ) from error
    return Scorable(rows, record)


def _pairs(loaded: Loaded, protocol: Protocol, requests: Sequence[tuple[str, str]]) -> list[Pair]:
    """The ids of what is read and of what is scored, for each choice; what is read alike is encoded once."""
    texts: dict[str, list[str]] = {}
    for read, text in requests:
        texts.setdefault(read, []).append(text)
    special, nothing = protocol.special_tokens, _nothing(loaded, protocol)
    encoded = {
        read: context_and_continuations(loaded.tokenizer, read, scored, special, nothing)
        for read, scored in texts.items()
    }
    answers = {read: iter(found) for read, (_, found) in encoded.items()}
    return [(encoded[read][0], next(answers[read])) for read, _ in requests]


def _nothing(loaded: Loaded, protocol: Protocol) -> list[int]:
    """What a model reads where there is nothing to read."""
    tokenizer: Any = loaded.tokenizer
    chosen = [tokenizer.bos_token_id] if protocol.empty_context == "bos_or_eos" else []
    return [token for token in [*chosen, tokenizer.eos_token_id] if token is not None][:1]
