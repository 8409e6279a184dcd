"""The stage: a model and some tasks become scores, item by item; a killed evaluation goes on where it was."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carrara.data.checks.contamination import near_copies
from carrara.data.dataset import Dataset
from carrara.data.render.dataset import render_split
from carrara.data.render.example import Rendered, context_and_continuation
from carrara.errors import Refusal
from carrara.evaluate.metrics import Figure, figures, record_of_choice
from carrara.evaluate.protocol import Asked, Protocol, build_context, find_protocol, order_and_draw, shots_for
from carrara.evaluate.scorer import Row, row_of_text, rows_of_question, score_rows
from carrara.evaluate.scores import Record, Scores, read_scores, write_scores
from carrara.models import Model
from carrara.models.forward import check_head
from carrara.models.load import Loaded, load_model
from carrara.models.machine import choose_device, choose_dtype, prepare_for_heavy_work
from carrara.progress import Progress
from carrara.recipe import EvaluateRecipe
from carrara.tasks import BENCHMARKS, HELDOUT
from carrara.tasks.questions import bare_questions
from carrara.tasks.sources import find_benchmark, read_items
from carrara.tasks.task import Item, Task
from carrara.workspace import Artefact, Draft, Workspace, write_atomically
from carrara.workspace.files import read_json_lines

FORMAT = 4  # raised when the same inputs would give other scores
ITEMS = "items.parquet"
_CHUNK = 64  # items that are scored and kept together


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
class _Questions:
    """A task ready to be asked: its items in asking order, each with its whole context."""

    task: Task
    items: list[Item]
    contexts: list[str]
    receipt: dict[str, Any]


def evaluate_model(
    workspace: Workspace,
    model: Model,
    recipe: EvaluateRecipe,
    progress: Progress,
    heldout: Dataset | None = None,
    not_near: Dataset | None = None,
) -> Evaluation:
    """Score a model on tasks. `heldout` gives the task of that name its rows; questions near `not_near` are skipped.

    Tasks that cannot be had are named in `missing`; raises Refusal if none is left.
    """
    prepare_for_heavy_work()
    protocol = find_protocol(recipe.protocol)
    names = tuple(dict.fromkeys(recipe.tasks))
    _require_known(names)
    _require_unlearned(workspace, model, heldout if HELDOUT in names else None)
    dtype = str(choose_dtype(recipe.dtype)).removeprefix("torch.")
    ready, missing = _gather(workspace, names, protocol, recipe, heldout, not_near, progress)
    asked = [name for name in names if name not in missing]
    if not asked:
        raise Refusal(f"nothing can be evaluated; {next(iter(missing.values()), 'name at least one task')}")
    held = {"dataset": heldout.artefact.digest, "render": heldout.render} if heldout and HELDOUT in asked else None
    receipt = {
        "format": FORMAT,
        **model.identity(),
        "model_name": model.name,
        "protocol": asdict(protocol),
        "dtype": dtype,
        "device": choose_device().type,
        "tasks": {name: questions.receipt for name, questions in ready.items()},
        "heldout": held,
        "skipped_near_copies_of": not_near.artefact.digest if not_near else None,
    }
    made_by = {key: value for key, value in receipt.items() if key != "model_name"} | {"order": asked}

    def build(draft: Draft) -> None:
        loaded = load_model(model, dtype)
        check_head(loaded.network)
        records: list[Record] = []
        for name in asked:
            rows = _question_rows(loaded, ready[name], protocol) if name in ready else _heldout_rows(loaded, heldout)
            records += _score_task(loaded, name, rows, draft.path, progress)
        scores = Scores(records, receipt)
        write_scores(draft.path / ITEMS, scores)
        for path in draft.path.glob("*.jsonl"):
            path.unlink()
        draft.summary.update(
            model=model.name, figures=[asdict(figure) for task in scores.tasks() for figure in figures(scores.of(task))]
        )

    inputs = {"model": model.source} | ({"data": heldout.artefact} if heldout else {})
    artefact = workspace.make(
        "scores", made_by, build, name=model.name, inputs=inputs, resumable=True, on_wait=progress.say
    )
    for name in {model.name, model.source.reference}:
        workspace.index.set_alias(latest_scores(name), artefact.reference)
    return Evaluation(artefact, missing)


def _gather(
    workspace: Workspace,
    names: Sequence[str],
    protocol: Protocol,
    recipe: EvaluateRecipe,
    heldout: Dataset | None,
    not_near: Dataset | None,
    progress: Progress,
) -> tuple[dict[str, _Questions], dict[str, str]]:
    """The benchmarks that can be had, and for each task that cannot, how to provide it."""
    ready: dict[str, _Questions] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            if name == HELDOUT:
                _require_heldout(heldout)
            else:
                ready[name] = _questions(workspace, name, protocol, recipe, not_near, progress)
        except Refusal as refusal:
            missing[name] = str(refusal)
            progress.say(f"{name} is left out: {refusal}")
    return ready, missing


def latest_scores(name: str) -> str:
    """The alias of the scores that a model of this name was last given, made anew or found."""
    return f"latest scores of {name}"


def _require_known(names: Sequence[str]) -> None:
    known = [*BENCHMARKS, HELDOUT]
    if unknown := [name for name in names if name not in known]:
        raise Refusal(f"there is no task '{unknown[0]}'; known are {', '.join(known)}.")


def _require_unlearned(workspace: Workspace, model: Model, heldout: Dataset | None) -> None:
    """Refuse held-out rows that the run being evaluated was trained on."""
    learned_from = model.source.inputs.get("dataset") if model.source.kind == "run" else None
    if heldout is None or learned_from is None:
        return
    learned = {example.id for example in Dataset(workspace.get(learned_from)).examples("train")}
    seen = sum(example.id in learned for example in heldout.examples("test"))
    if seen:
        raise Refusal(
            f"{seen} of the held-out rows were trained on by {model.name}; evaluate it on the dataset it was "
            f"tuned with ({learned_from}), or prepare this one with the same seed and shares."
        )


def _require_heldout(heldout: Dataset | None) -> None:
    if heldout is None:
        raise Refusal("the task heldout needs a dataset; name one with --data, or evaluate a run.")
    if not heldout.artefact.summary["splits"]["test"]:
        raise Refusal("the dataset's test split is empty; prepare it with a larger test share.")


# ---- asking ----


def _questions(
    workspace: Workspace,
    name: str,
    protocol: Protocol,
    recipe: EvaluateRecipe,
    not_near: Dataset | None,
    progress: Progress,
) -> _Questions:
    task = BENCHMARKS[name]
    shots = shots_for(task, protocol, recipe.shots)
    file = find_benchmark(workspace, task.file, recipe.benchmarks, progress)
    items = read_items(name, file, task.read)
    pool: list[Item] = []
    pool_file = None
    if shots:
        if not (task.train_file and task.read_train):
            raise Refusal(f"{name} has no examples to draw from; leave --shots away.")
        pool_file = find_benchmark(workspace, task.train_file, recipe.benchmarks, progress)
        pool = read_items(name, pool_file, task.read_train)
        if shots >= len(pool):
            raise Refusal(f"{name} has {len(pool)} examples to draw from; lower --shots from {shots}.")
    order = order_and_draw(protocol, len(items), len(pool), shots, task.draws_one_more)
    near = _near_copies(name, items, not_near)
    kept, skipped = _without_near_copies(order, items, near, recipe.limits.get(name, recipe.limit))
    contexts = [build_context(task, items[a.position], [pool[shot] for shot in a.shots]) for a in kept]
    receipt = {
        "file": task.file,
        "sha256": file.sha256,
        "source": file.source,
        "shots": shots,
        "shots_sha256": pool_file.sha256 if pool_file else None,
        "items": len(kept),
        "items_sha256": hashlib.sha256(json.dumps([a.position for a in kept]).encode()).hexdigest(),
        "near_copies_skipped": skipped,
    }
    return _Questions(task, [items[a.position] for a in kept], contexts, receipt)


def _near_copies(name: str, items: Sequence[Item], training: Dataset | None) -> set[str]:
    """The ids of the questions that a training row holds."""
    if training is None:
        return set()
    rows = (example.texts for example in training.each("train"))
    return near_copies(bare_questions(name, items), rows)


def _without_near_copies(
    order: Sequence[Asked], items: Sequence[Item], near: set[str], limit: int | None
) -> tuple[list[Asked], int]:
    """The first `limit` items that are no near-copies of training rows, and how many were skipped on the way."""
    kept: list[Asked] = []
    skipped = 0
    for asked in order:
        if limit is not None and len(kept) == limit:
            break
        if items[asked.position].id in near:
            skipped += 1
        else:
            kept.append(asked)
    return kept, skipped


# ---- scoring ----


@dataclass(frozen=True)
class _Scorable:
    """The rows of one item, and how its log-likelihoods become a record; seconds come last."""

    rows: list[Row]
    record: Any


def _question_rows(loaded: Loaded, questions: _Questions, protocol: Protocol) -> list[Any]:
    return [
        (lambda item=item, context=context: _choice(loaded, questions.task, protocol, item, context))
        for item, context in zip(questions.items, questions.contexts, strict=True)
    ]


def _choice(loaded: Loaded, task: Task, protocol: Protocol, item: Item, context: str) -> _Scorable:
    pairs = [
        context_and_continuation(loaded.tokenizer, context, f" {choice}", protocol.special_tokens)
        for choice in item.choices
    ]
    answers = [answer for _, answer in pairs]

    def record(loglikelihoods: list[float], seconds: float) -> Record:
        tokens = sum(len(answer) for answer in answers)
        return record_of_choice(task, protocol, item, context, loglikelihoods, tokens, seconds)

    try:
        return _Scorable(rows_of_question(pairs[0][0], answers, loaded.context, loaded.window), record)
    except ValueError as error:
        raise Refusal(f"{task.name}, item {item.position}: {error}; use a model with a longer context.") from error


def _heldout_rows(loaded: Loaded, heldout: Dataset | None) -> list[Any]:
    assert heldout is not None
    examples = heldout.examples("test")
    rendered = render_split(heldout, "test", loaded.tokenizer, loaded.context)
    usable = [position for position, row in enumerate(rendered) if isinstance(row, Rendered)]
    if not usable:
        raise Refusal(f"no row of the test split can be used; {rendered[0]}")

    def scorable(position: int) -> _Scorable:
        row, example = rendered[position], examples[position]
        assert isinstance(row, Rendered)
        learned = [token for token, is_learned in zip(row.ids, row.supervised, strict=True) if is_learned]
        text = str(loaded.tokenizer.decode(learned, skip_special_tokens=True))
        prompt = hashlib.sha256(json.dumps([row.ids, row.supervised]).encode()).hexdigest()

        def record(loglikelihoods: list[float], seconds: float) -> Record:
            nats = -loglikelihoods[0]
            size = max(1, len(text.encode("utf-8")))
            asked = "\n".join(message.content for message in example.messages[: example.supervised[-1]])
            return Record(
                HELDOUT, position, row.id, asked, [text], prompt, loglikelihoods, None, None, None, None, None,
                nats, None, nats / math.log(2) / size, len(learned), size, seconds,
            )  # fmt: skip

        return _Scorable([row_of_text(row.ids, row.supervised)], record)

    return [(lambda position=position: scorable(position)) for position in usable]


def _score_task(loaded: Loaded, name: str, items: list[Any], folder: Path, progress: Progress) -> list[Record]:
    """Score chunk by chunk, keeping each once it is done; chunks are cut by position, so a resume repeats none."""
    kept = folder / f"{name}.jsonl"
    records = _whole_chunks(kept, len(items))
    if records:
        progress.say(f"{name}: going on after item {len(records)}")
    with progress.track(name, len(items), "item", done=len(records)) as advance:
        for start in range(len(records), len(items), _CHUNK):
            began = time.monotonic()
            chunk = [item() for item in items[start : start + _CHUNK]]
            sums = iter(score_rows(loaded, [row for scorable in chunk for row in scorable.rows]))
            found = [[value for _ in scorable.rows for value in next(sums)] for scorable in chunk]
            seconds = (time.monotonic() - began) / len(chunk)
            added = [s.record(values, seconds) for s, values in zip(chunk, found, strict=True)]
            _require_finite(added)
            with kept.open("a", encoding="utf-8") as file:
                file.write(_as_lines(added))
            records += added
            advance(len(chunk))
    return records


def _require_finite(records: Sequence[Record]) -> None:
    """Refuse numbers that are none: comparing them would make the first choice right."""
    for record in records:
        if not all(math.isfinite(value) for value in record.loglikelihoods):
            raise Refusal(
                f"{record.task}, item {record.item}: the model's log-likelihood is no number; its weights are damaged "
                "or overflow; evaluate with --dtype float32, or tune with a lower learning rate."
            )


def _whole_chunks(kept: Path, items: int) -> list[Record]:
    """The records of the chunks that a killed evaluation finished; those of a torn one are dropped from the file."""
    found = [Record(**value) for value in read_json_lines(kept)]
    if len(found) < items and len(found) % _CHUNK:
        found = found[: len(found) - len(found) % _CHUNK]
        write_atomically(kept, _as_lines(found))
    return found


def _as_lines(records: Sequence[Record]) -> str:
    return "".join(json.dumps(asdict(record), ensure_ascii=False) + "\n" for record in records)
