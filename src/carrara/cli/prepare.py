"""`carrara prepare`: rows become a dataset, with a dossier."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from json import loads
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line
from carrara.cli.options import BenchmarksOption, JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.data.dataset import Dataset
    from carrara.data.dossier.stage import Wanted
    from carrara.models import Model
    from carrara.progress import Progress
    from carrara.recipe import Recipe
    from carrara.workspace import Artefact, Workspace

_STYLES = {"learned": "black on green", "context": "", "special": "bold magenta"}


def prepare_command(
    source: Annotated[
        str,
        typer.Argument(
            help="JSONL, JSON, CSV, TSV, Parquet, Arrow, text or Markdown, also compressed; a folder, a zip archive, "
            "hub:owner/name, or a recipe in YAML that names the data."
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also copy the dataset to this folder.")] = None,
    model: Annotated[str | None, typer.Option(help="Model whose tokenizer counts and shows the tokens.")] = None,
    map: Annotated[
        str | None, typer.Option(help="Which field holds which part: prompt=question,completion=answer.")
    ] = None,
    render: Annotated[
        str | None, typer.Option(help="chat (the model's template) or plain (prompt + completion).")
    ] = None,
    test: Annotated[float | None, typer.Option(help="Share of rows held out for testing (default 0.1).")] = None,
    validation: Annotated[float | None, typer.Option(help="Share of rows for validation (default 0.05).")] = None,
    group: Annotated[str | None, typer.Option(help="Field whose equal values stay in one split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the split.")] = None,
    drop_duplicates: Annotated[
        str | None, typer.Option(help="none, exact (default: one of each is kept) or near.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Benchmarks that rows must not copy, by commas (default: those at hand).")
    ] = None,
    benchmarks: BenchmarksOption = None,
    contamination: Annotated[
        str | None, typer.Option(help="refuse (default for benchmarks that are named), drop or report.")
    ] = None,
    personal_data: Annotated[str | None, typer.Option(help="report (default), redact or drop.")] = None,
    show_values: Annotated[bool, typer.Option("--show-values", help="Do not mask personal values in reports.")] = False,
    show_tokens: Annotated[int, typer.Option(min=0, help="Show so many rows, coloured by what is learned.")] = 0,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Read, check and split rows; the dossier tells what was found and where every row went."""
    from carrara.data.dataset import require_export_place
    from carrara.data.dossier.stage import Wanted
    from carrara.workspace import open_workspace

    options = {
        "map": _mapping(map), "render": render, "test": test, "validation": validation, "group": group, "seed": seed,
        "drop_duplicates": drop_duplicates, "against": _names(against), "contamination": contamination,
        "personal_data": personal_data,
    }  # fmt: skip
    progress, store = make_progress(), open_workspace(workspace)
    if output:
        require_export_place(output)
    recipe, unchecked = _recipe(store, source, {"model": model, "prepare": options}, benchmarks)
    wanted = Wanted(recipe, unchecked, max(3, show_tokens), show_values)
    dataset, dossier = _make(store, wanted, output, progress)
    if json:
        print_json(_result(dataset, dossier, output))
    else:
        _print(dataset, dossier, output, show_tokens)


def _make(store: Workspace, wanted: Wanted, output: Path | None, progress: Progress) -> tuple[Dataset, Artefact]:
    """The dataset and its dossier, both also copied to `output` if there is one."""
    from carrara.data.dataset import export_dataset
    from carrara.data.dossier import DOSSIER_JSON, DOSSIER_PAGE
    from carrara.data.dossier.stage import make_dossier
    from carrara.data.prepare.stage import prepare_dataset

    dataset = prepare_dataset(store, wanted.recipe, progress, wanted.show_values)
    if output:
        export_dataset(dataset, output)
    dossier = make_dossier(store, dataset, _model(store, wanted.recipe, progress), wanted, progress)
    if output:
        for name in (DOSSIER_PAGE, DOSSIER_JSON):
            shutil.copyfile(dossier.path / name, output / name)
    return dataset, dossier


def _recipe(
    store: Workspace, source: str, given: dict[str, Any], benchmarks: Path | None
) -> tuple[Recipe, dict[str, str]]:
    """The recipe, and why benchmarks are not checked. Without any named, those at hand are checked, to report."""
    from carrara.data.dataset import existing_dataset
    from carrara.errors import Refusal
    from carrara.recipe import make_recipe, override, read_recipe
    from carrara.tasks.questions import questions_at_hand

    is_recipe = Path(source).suffix in (".yaml", ".yml")
    recipe = override(read_recipe(Path(source)) if is_recipe else make_recipe({"data": source}), given)
    if benchmarks and not benchmarks.is_dir():
        raise Refusal(f"the benchmark folder {benchmarks} does not exist; give a folder of benchmark files.")
    if benchmarks:
        recipe = override(recipe, {"evaluate": {"benchmarks": benchmarks}})
    if is_recipe or recipe.prepare.against is not None or existing_dataset(store, source):
        return recipe, {}
    ready, missing = questions_at_hand(store, recipe.evaluate.benchmarks)
    policy = recipe.prepare.contamination if given["prepare"]["contamination"] else "report"
    at_hand = {"against": [each.name for each in ready], "contamination": policy}
    return override(recipe, {"prepare": at_hand}), missing


def _names(text: str | None) -> list[str] | None:
    from carrara.errors import Refusal

    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise Refusal("--against names no benchmark; leave it away to check those at hand.")
    return names


def _mapping(text: str | None) -> dict[str, str] | None:
    from carrara.errors import Refusal

    if text is None:
        return None
    pairs = [pair.partition("=") for pair in text.split(",")]
    if wrong := [part for part, equals, field in pairs if not (part.strip() and equals and field.strip())]:
        raise Refusal(f"--map holds '{wrong[0]}', no part=field; write it as prompt=question,completion=answer.")
    mapping = {part.strip(): field.strip() for part, _, field in pairs}
    if len(mapping) < len(pairs) or len(set(mapping.values())) < len(pairs):
        raise Refusal("--map names a part or a field twice; give each once.")
    return mapping


def _model(store: Workspace, recipe: Recipe, progress: Progress) -> Model | None:
    """The model that counts tokens; only one that was asked for must be had."""
    from carrara.errors import Refusal
    from carrara.models import resolve_model
    from carrara.models.machine import prepare_for_heavy_work

    prepare_for_heavy_work()
    try:
        return resolve_model(store, recipe.model, progress)
    except Refusal as refusal:
        if "model" in recipe.model_fields_set:
            raise
        progress.say(f"tokens are not counted: {refusal}")
        return None


def _places(dataset: Dataset, dossier: Artefact, output: Path | None) -> tuple[Path, Path]:
    """Where the user finds the dataset and the page of the dossier."""
    from carrara.data.dossier import DOSSIER_PAGE

    return output or dataset.artefact.path, (output or dossier.path) / DOSSIER_PAGE


def _result(dataset: Dataset, dossier: Artefact, output: Path | None) -> dict[str, Any]:
    folder, page = _places(dataset, dossier, output)
    summary, tokens = dataset.artefact.summary, dossier.summary["tokens"]
    return {
        "dataset": str(folder),
        "id": dataset.artefact.reference,
        **{key: summary[key] for key in ("rows", "dropped", "splits", "duplicates", "personal_data", "contaminated")},
        "tokens": tokens and {
            "total": tokens["total"],
            "supervised": tokens["supervised"],
            "truncated_rows": tokens["truncated"]["rows"],
            "set_aside_rows": tokens["set_aside"]["rows"],
        },
        "estimate": dossier.summary["estimate"],
        "dossier": str(page),
    }  # fmt: skip


def _print(dataset: Dataset, dossier: Artefact, output: Path | None, show_tokens: int) -> None:
    from carrara.data.dossier import DOSSIER_JSON, remarks

    folder, page = _places(dataset, dossier, output)
    content = loads((dossier.path / DOSSIER_JSON).read_text(encoding="utf-8"))
    summary, tokens = dataset.artefact.summary, content["tokens"]
    rows, splits = summary["rows"], summary["splits"]
    print_line(f"rows      {rows['read']:,} read, {rows['kept']:,} kept, {rows['quarantined']:,} in quarantine")
    for kind, count in summary["dropped"].items():
        if count:
            print_line(f"dropped   {count:,} of these for {kind.replace('_', ' ')}")
    print_line(f"splits    {splits['train']:,} train, {splits['validation']:,} validation, {splits['test']:,} test")
    if tokens:
        share = tokens["supervised"] / max(1, tokens["total"])
        print_line(f"tokens    {tokens['total']:,}, of which {tokens['supervised']:,} ({share:.0%}) are learned")
    for remark in remarks(content):
        print_line(f"{remark.severity:<10}{remark.sentence} {remark.remedy}".rstrip())
    print_line(f"dossier   {page}")
    print_line(f"dataset   {folder}")
    _show(content["shown"][:show_tokens])


def _show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows with what is learned marked by colour and, where there is none, by brackets."""
    from rich.console import Console
    from rich.text import Text

    from carrara.wording import line, visible

    if not rows:
        return
    console = Console(highlight=False)
    brackets = not console.is_terminal
    console.print(Text.assemble(("learned", _STYLES["learned"]), "  context  ", ("special", _STYLES["special"])))
    for row in rows:
        text = Text()
        for kind, words in row["spans"]:
            shown = visible(words)
            text.append(f"[[{shown}]]" if brackets and kind == "learned" else shown, style=_STYLES[kind])
        head = f"— {line(row['file'])}, row {row['row']}: {row['learned']} of {row['tokens']} tokens are learned"
        console.print(Text(head, style="dim"))
        console.print(text, soft_wrap=True)
