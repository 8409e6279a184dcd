"""`carrara evaluate`: a model becomes scores."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import BenchmarksOption, JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.evaluate.classification import Label
    from carrara.evaluate.run import Evaluation
    from carrara.models import Model
    from carrara.workspace import Workspace


def evaluate_command(
    model: Annotated[str, typer.Argument(help="A model reference or a run.")],
    tasks: Annotated[str | None, typer.Option(help="Tasks and task files, separated by commas.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="lm-eval-0.4 (default), lm-eval-0.4-openllm or leaderboard-2023-10.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Examples before each question (default: the protocol's).")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many questions of each task.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 (exact, default), bfloat16 (faster) or auto.")] = None,
    benchmarks: BenchmarksOption = None,
    data: Annotated[str | None, typer.Option(help="Dataset whose test split is the task heldout.")] = None,
    skip_near_copies: Annotated[
        bool, typer.Option(help="Skip questions that nearly copy --data's training rows.")
    ] = False,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Score a model item by item; run again after a kill, it goes on where it was."""
    from carrara.data.dataset import Dataset
    from carrara.data.prepare.stage import prepare_dataset
    from carrara.errors import Refusal
    from carrara.evaluate.run import evaluate_model
    from carrara.models import resolve_model
    from carrara.recipe import EvaluateRecipe, make_recipe
    from carrara.workspace import open_workspace

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
    resolved = resolve_model(store, model, progress)
    dataset: Dataset | None = None
    if data:
        dataset = prepare_dataset(store, make_recipe({"data": data, "prepare": _options(store, resolved)}), progress)
    elif "dataset" in resolved.source.inputs:
        dataset = Dataset(store.get(resolved.source.inputs["dataset"]))
    if skip_near_copies and dataset is None:
        raise Refusal("--skip-near-copies needs the training rows; name their dataset with --data.")
    near = dataset if skip_near_copies else None
    evaluation = evaluate_model(store, resolved, recipe, progress, heldout=dataset, not_near=near)
    if json:
        print_json(_result(evaluation))
    else:
        _print(evaluation)


def _options(store: Workspace, model: Model) -> dict[str, Any]:
    """How the data of a run was prepared, so that the same rows are held out again."""
    from carrara.data.dataset import Dataset

    reference = model.source.inputs.get("dataset") if model.source.kind == "run" else None
    options = Dataset(store.get(reference)).artefact.summary.get("options", {}) if reference else {}
    return {key: value for key, value in options.items() if key not in ("against", "contamination")}


def _result(evaluation: Evaluation) -> dict[str, Any]:
    """What a program reads of an evaluation."""
    from carrara.models.machine import peak_memory_mb

    labels = {task: [asdict(label) | {"f1": label.f1} for label in own] for task, own in _labels(evaluation).items()}
    return {
        "scores": str(evaluation.path),
        "id": evaluation.artefact.reference,
        "tasks": [asdict(figure) for figure in evaluation.figures],
        "labels": labels,
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
    for task, labels in _labels(evaluation).items():
        told = [
            [label.name, f"{label.precision:.3f}", f"{label.recall:.3f}", f"{label.f1:.3f}", str(label.items)]
            for label in labels
        ]
        print_table([f"label of {task}", "precision", "recall", "F1", "n"], told)
    print_line(f"scores    {evaluation.path}")
