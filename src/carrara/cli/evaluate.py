"""`carrara evaluate`: models become scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import BenchmarksOption, JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.data.dataset import Dataset
    from carrara.evaluate.classification import Label
    from carrara.evaluate.metrics import Figure
    from carrara.evaluate.run import Evaluation
    from carrara.models import Model
    from carrara.progress import Progress
    from carrara.workspace import Workspace


def evaluate_command(
    models: Annotated[list[str], typer.Argument(metavar="MODEL|RUN…", help="What to score, in one process.")],
    tasks: Annotated[str | None, typer.Option(help="Tasks and task files, separated by commas.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="lm-eval-0.4 (default), lm-eval-0.4-openllm or leaderboard-2023-10.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Examples before each question (default: the protocol's).")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many questions of each task.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 (exact, default), bfloat16 (faster) or auto.")] = None,
    benchmarks: BenchmarksOption = None,
    data: Annotated[str | None, typer.Option(help="Dataset whose test split heldout and heldout_answers ask.")] = None,
    skip_near_copies: Annotated[
        bool, typer.Option(help="Skip questions that nearly copy --data's training rows.")
    ] = False,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Score models item by item; run again after a kill, it goes on where it was."""
    from carrara.errors import Refusal
    from carrara.evaluate.run import evaluate_models
    from carrara.models import resolve_model
    from carrara.models.machine import prepare_for_scoring
    from carrara.recipe import EvaluateRecipe, make_recipe
    from carrara.workspace import open_workspace

    prepare_for_scoring()
    names = [name.strip() for name in tasks.split(",") if name.strip()] if tasks else list(EvaluateRecipe().tasks)
    given: dict[str, Any] = {
        "tasks": names,
        "protocol": protocol,
        "shots": shots,
        "limit": limit,
        "dtype": dtype,
        "benchmarks": benchmarks,
    }
    recipe = make_recipe({"evaluate": {key: value for key, value in given.items() if value is not None}}).evaluate
    progress = make_progress()
    store = open_workspace(workspace)
    resolved = [resolve_model(store, model, progress) for model in models]
    dataset = _dataset(store, resolved, data, progress)
    if skip_near_copies and dataset is None:
        raise Refusal("--skip-near-copies needs the training rows; name their dataset with --data.")
    near = dataset if skip_near_copies else None
    evaluations = evaluate_models(store, resolved, recipe, progress, heldout=dataset, not_near=near)
    if json:
        told = [{"model": each.model, **_result(each)} for each in evaluations]
        print_json(told if len(models) > 1 else _result(evaluations[0]))
    elif len(models) > 1:
        _print_together(evaluations)
    else:
        _print(evaluations[0])


def _dataset(store: Workspace, models: Sequence[Model], data: str | None, progress: Progress) -> Dataset | None:
    """The one dataset that all models are asked about: --data, else the one that those of them were tuned with."""
    from carrara.data.dataset import Dataset
    from carrara.data.prepare.stage import prepare_dataset
    from carrara.recipe import make_recipe

    learned = {model.source.inputs["dataset"]: model for model in models if "dataset" in model.source.inputs}
    if data:
        options = _options(store, next(iter(learned.values()), models[0]))
        return prepare_dataset(store, make_recipe({"data": data, "prepare": options}), progress)
    if len(learned) > 1:
        progress.say(f"the models were tuned with different datasets ({', '.join(learned)}); name one with --data")
        return None
    return Dataset(store.get(next(iter(learned)))) if learned else None


def _options(store: Workspace, model: Model) -> dict[str, Any]:
    """How the data of a run was prepared, so that the same rows are held out again."""
    from carrara.data.dataset import Dataset

    reference = model.source.inputs.get("dataset") if model.source.kind == "run" else None
    options = Dataset(store.get(reference)).artefact.summary.get("options", {}) if reference else {}
    return {key: value for key, value in options.items() if key not in ("against", "contamination")}


def _result(evaluation: Evaluation) -> dict[str, Any]:
    """What a program reads of an evaluation."""
    from carrara.evaluate.similarity import intervals
    from carrara.models.machine import peak_memory_mb

    labels = {task: [asdict(label) | {"f1": label.f1} for label in own] for task, own in _labels(evaluation).items()}
    return {
        "scores": str(evaluation.path),
        "id": evaluation.artefact.reference,
        "tasks": [asdict(figure) for figure in evaluation.figures],
        "labels": labels,
        "intervals": intervals(evaluation.figures),
        "seconds": evaluation.artefact.summary["seconds"],
        "missing": evaluation.missing,
        "peak_memory_mb": peak_memory_mb(),
    }


def _labels(evaluation: Evaluation) -> dict[str, list[Label]]:
    """The labels of each classification."""
    from carrara.evaluate.classification import labels_of

    tasks = [figure.task for figure in evaluation.figures if figure.metric == "macro_f1"]
    return {task: labels_of(evaluation.scores.of(task)) for task in tasks}


def _print(evaluation: Evaluation) -> None:
    rows = [
        [
            figure.task,
            figure.metric,
            f"{figure.value:.4f}",
            f"{figure.stderr:.4f}" if figure.stderr is not None else "–",
            str(figure.n),
            f"{figure.seconds:.1f}",
        ]
        for figure in evaluation.figures
    ]
    print_table(["task", "metric", "value", "stderr", "n", "seconds"], rows)
    _print_labels(evaluation, "")
    _print_intervals(evaluation, "")
    print_line(f"scores    {evaluation.path}")


def _print_together(evaluations: Sequence[Evaluation]) -> None:
    """One table for several models: a row for each metric of each task, a column for each model."""
    columns = [{(figure.task, figure.metric): figure for figure in each.figures} for each in evaluations]
    keys = dict.fromkeys(key for column in columns for key in column)
    counts = {key: dict.fromkeys(str(column[key].n) for column in columns if key in column) for key in keys}
    rows = [[*key, "/".join(counts[key]), *(_value(column.get(key)) for column in columns)] for key in keys]
    print_table(["task", "metric", "n", *(each.model for each in evaluations)], rows)
    for each in evaluations:
        _print_labels(each, f", {each.model}")
        _print_intervals(each, f"{each.model}: ")
    for each in evaluations:
        print_line(f"scores    {each.model}: {each.path}")


def _value(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.value:.4f}" if figure.stderr is None else f"{figure.value:.4f} ± {figure.stderr:.4f}"


def _print_intervals(evaluation: Evaluation, whose: str) -> None:
    from carrara.evaluate.similarity import intervals

    for task, own in intervals(evaluation.figures).items():
        for metric, (low, high) in own.items():
            print_line(f"interval  {whose}{task} {metric}: {low:.3f} to {high:.3f} (95 %)")


def _print_labels(evaluation: Evaluation, whose: str) -> None:
    for task, labels in _labels(evaluation).items():
        told = [
            [label.name, f"{label.precision:.3f}", f"{label.recall:.3f}", f"{label.f1:.3f}", str(label.items)]
            for label in labels
        ]
        print_table([f"label of {task}{whose}", "precision", "recall", "F1", "n"], told)
