"""The stage: models and some tasks become scores, item by item; a killed evaluation goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.evaluate.blocks import score_items
from carrara.evaluate.heldout import require_heldout
from carrara.evaluate.known import Known
from carrara.evaluate.latency import latency_figures, latency_records
from carrara.evaluate.metrics import Figure, below_guessing, figures
from carrara.evaluate.protocol import Protocol
from carrara.evaluate.scorer import Scorer
from carrara.evaluate.scores import Record, Scores, read_scores, write_scores
from carrara.evaluate.sheet import Sheet, choice_sheet, heldout_sheet
from carrara.evaluate.similarity import similarity_figures, similarity_records
from carrara.evaluate.wanted import Wanted, gather, leave_out, wanted_of
from carrara.evaluate.written import writing_of, writing_of_heldout, written_records
from carrara.models import Model
from carrara.models.adapters import by_network, load_together, switched_on
from carrara.models.forward import check_head
from carrara.models.load import Loaded
from carrara.models.machine import give_back_memory, prepare_for_heavy_work
from carrara.progress import Progress
from carrara.recipe import EvaluateRecipe
from carrara.tasks import HELDOUT, HELDOUT_ANSWERS, LATENCY
from carrara.tasks.task import Task
from carrara.workspace import Artefact, Draft, Workspace

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ITEMS = "items.parquet"
_KNOWN = "known-scores.sqlite"


@dataclass(frozen=True)
class Evaluation:
    """Finished scores with their figures, and the model as it was named when they were asked for.

    `missing` tells, per task that could not be had, how to provide it.
    """

    artefact: Artefact
    missing: Mapping[str, str]
    model: str

    @property
    def path(self) -> Path:
        return self.artefact.path / ITEMS

    @property
    def scores(self) -> Scores:
        return read_scores(self.path)

    @property
    def figures(self) -> list[Figure]:
        return [Figure(**figure) for figure in self.artefact.summary["figures"]]


@dataclass
class _Scored:
    """What one model scored: all records in the order of the tasks, and for each task that it cannot do why."""

    records: list[Record] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


_Score = Callable[[], Mapping[int, _Scored]]  # by the places of models


class _TasksRefused(Exception):
    """Some tasks turned out while they were scored to be none that the model can do."""


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
    return evaluate_models(workspace, [model], recipe, progress, heldout, not_near)[0]


def evaluate_models(
    workspace: Workspace,
    models: Sequence[Model],
    recipe: EvaluateRecipe,
    progress: Progress,
    heldout: Dataset | None = None,
    not_near: Dataset | None = None,
) -> list[Evaluation]:
    """Score models, in their order, each exactly as `evaluate_model` would score it alone.

    Tasks are read once. Models that can share a network are loaded together, and questions with choices are encoded
    once for those of them that have the same tokenizer files. A model that can do none of the tasks is left out, which
    is said; raises Refusal if none is left, if a model is named twice, and for one that cannot be loaded.
    """
    _require_different(models)
    prepare_for_heavy_work()
    tasks = gather(workspace, recipe, heldout, not_near, progress)
    wanted = wanted_of(workspace, models, tasks, recipe.dtype, progress)
    found: dict[int, Evaluation | Refusal] = {}
    for group in _groups(workspace, wanted):
        score = cache(partial(_score_together, workspace, group, progress))
        for each in group:
            found[each.place] = made = _evaluate(workspace, each, score)
            if isinstance(made, Refusal) and len(models) > 1:
                each.progress.say(str(made))
    evaluations = [made for _, made in sorted(found.items()) if isinstance(made, Evaluation)]
    if not evaluations:
        raise next(made for made in found.values() if isinstance(made, Refusal))
    return evaluations


def latest_scores(name: str) -> str:
    """The alias of the scores that a model of this name was last given, made anew or found."""
    return f"latest scores of {name}"


def _require_different(models: Sequence[Model]) -> None:
    named: dict[tuple[tuple[str, str | None], ...], str] = {}
    for model in models:
        identity = tuple(model.identity().items())
        if identity in named:
            raise Refusal(f"'{named[identity]}' and '{model.name}' are the same model; name it once.")
        named[identity] = model.name


def _groups(workspace: Workspace, wanted: Sequence[Wanted]) -> list[list[Wanted]]:
    """What is scored together: what shares a network; and by itself what needs none, since its scores stand.

    Where latency is asked, no model has company: it would run the others' detours.
    """
    new = [each for each in wanted if each.asked and not each.stands(workspace)]
    if any(LATENCY in each.asked for each in new):
        return [[each] for each in wanted]
    places = {each.place for each in new}
    alone = [[each] for each in wanted if each.place not in places]
    return alone + [[new[number] for number in group] for group in by_network([each.model for each in new])]


def _evaluate(workspace: Workspace, wanted: Wanted, score: _Score) -> Evaluation | Refusal:
    """The scores of one model, without tasks that it turns out not to be able to do; a Refusal if none is left.

    `score` is asked only if these scores do not stand.
    """
    while wanted.asked:
        try:
            return Evaluation(_make(workspace, wanted, score), wanted.missing, wanted.model.name)
        except _TasksRefused:
            wanted = replace(wanted, missing={**wanted.missing, **score()[wanted.place].missing})
    return Refusal(f"nothing can be evaluated; {next(iter(wanted.missing.values()), 'name at least one task')}")


def _make(workspace: Workspace, wanted: Wanted, score: _Score) -> Artefact:
    """The scores as an artefact, newly made unless they stand; raises _TasksRefused for tasks that must go."""
    model, tasks, progress = wanted.model, wanted.tasks, wanted.progress

    def build(draft: Draft) -> None:
        scored = score()[wanted.place]
        give_back_memory()  # the network's, before the libraries that write need theirs
        if scored.missing.keys() - wanted.missing.keys():
            raise _TasksRefused
        scores = Scores(scored.records, wanted.receipt())
        write_scores(draft.path / ITEMS, scores)
        found: list[Figure] = []
        for name in scores.tasks():
            task = tasks.ready[name].task if name in tasks.ready else None
            own = _figures(scores.of(name), tasks.protocol, task)
            found += own
            for sentence in below_guessing(scores.of(name), own) if task else ():
                progress.say(sentence)
        draft.summary.update(model=model.name, seconds=scored.seconds, figures=[asdict(figure) for figure in found])

    inputs = {"model": model.source} | ({"data": wanted.heldout.artefact} if wanted.heldout else {})
    artefact = workspace.make("scores", wanted.made_by(), build, name=model.name, inputs=inputs, on_wait=progress.say)
    is_source = not model.adapter or model.source.kind == "run"  # that of an adapter from elsewhere is its base
    for name in {model.name, *([model.source.reference] if is_source else [])}:
        workspace.index.set_alias(latest_scores(name), artefact.reference)
    return artefact


def _figures(records: Sequence[Record], protocol: Protocol, task: Task | None) -> list[Figure]:
    """The figures of one task, which its kind decides."""
    if records[0].task == LATENCY:
        return latency_figures(records)
    if task and task.kind == "pairs":
        return similarity_figures(records)
    return figures(records, protocol, task)


def _score_together(workspace: Workspace, group: Sequence[Wanted], progress: Progress) -> dict[int, _Scored]:
    """What models that share a network score; task by task, so that no task is held in tokens after its turn."""
    together = load_together([wanted.model for wanted in group], group[0].dtype, embedders=True)
    for wanted in group:
        wanted.model.require_unchanged()
    check_head(together[0].loaded.network)
    found = {wanted.place: _Scored() for wanted in group}
    with Known(workspace.root / _KNOWN, progress.say) as known:
        for name in group[0].tasks.order:
            sheets: dict[PreTrainedTokenizerBase, Sheet] = {}
            for wanted, adapted in zip(group, together, strict=True):
                scored, began = found[wanted.place], time.monotonic()
                try:
                    if name in wanted.asked:
                        with switched_on(adapted) as loaded:
                            scored.records += _score(loaded, known, name, wanted, sheets, keep=len(group) > 1)
                except Refusal as refusal:
                    leave_out(scored.missing, name, refusal, wanted.progress)
                scored.seconds += time.monotonic() - began
    return found


def _score(
    loaded: Loaded, known: Known, name: str, wanted: Wanted, sheets: dict[PreTrainedTokenizerBase, Sheet], keep: bool
) -> list[Record]:
    """The records of one task by one model: the place where each kind of task meets the way it is scored.

    `sheets` has the task in tokens, by tokenizer, for all models on this network; it is filled here.
    """
    tasks, tokenizer = wanted.tasks, loaded.tokenizer
    if name == LATENCY:
        return latency_records(loaded, wanted.progress)
    kind = tasks.ready[name].task.kind if name in tasks.ready else None
    if kind == "pairs":
        return similarity_records(loaded, tasks.ready[name], wanted.progress)
    if kind == "text":
        return written_records(loaded, known, writing_of(loaded, tasks.ready[name], tasks.protocol), wanted.progress)
    if name == HELDOUT_ANSWERS:
        writing = writing_of_heldout(loaded, require_heldout(tasks.heldout), tasks.answers, wanted.progress)
        return written_records(loaded, known, writing, wanted.progress)
    if tokenizer not in sheets:
        sheets[tokenizer] = (
            heldout_sheet(loaded, require_heldout(tasks.heldout), wanted.progress)
            if name == HELDOUT
            else choice_sheet(loaded, tasks.ready[name], tasks.protocol, keep)
        )
    sheet = sheets[tokenizer]
    return score_items(Scorer(loaded, known), name, sheet.make, sheet.wanted, sheet.blocks, wanted.progress)
