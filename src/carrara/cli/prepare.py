"""`carrara prepare`: rows become a dataset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json, print_line
from carrara.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from carrara.data.dataset import Dataset
    from carrara.data.rendering import TokenCounts

_STYLES = {"learned": "black on green", "context": "", "special": "bold magenta"}


def prepare_command(
    file: Annotated[str, typer.Argument(help="JSONL of prompt/completion, messages or instruction/output rows.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also copy the dataset to this folder.")] = None,
    model: Annotated[str | None, typer.Option(help="Model whose tokenizer counts and shows the tokens.")] = None,
    render: Annotated[
        str | None, typer.Option(help="chat (the model's template) or plain (prompt + completion).")
    ] = None,
    test: Annotated[float | None, typer.Option(help="Share of rows held out for testing (default 0.1).")] = None,
    validation: Annotated[float | None, typer.Option(help="Share of rows for validation (default 0.05).")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the split.")] = None,
    show_tokens: Annotated[int, typer.Option(help="Show so many rows, coloured by what is learned.")] = 0,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Check, split and render a file of rows; bad rows go to a quarantine with number and reason."""
    from carrara.data.dataset import export_dataset, prepare_dataset
    from carrara.data.rendering import count_dataset_tokens
    from carrara.models import resolve_model
    from carrara.models.load import context_of, load_tokenizer
    from carrara.models.machine import prepare_for_heavy_work
    from carrara.recipe import DEFAULT_MODEL, make_recipe
    from carrara.workspace import open_workspace

    given = {"render": render, "test": test, "validation": validation, "seed": seed}
    recipe = make_recipe({"prepare": {key: value for key, value in given.items() if value is not None}}).prepare
    progress = make_progress()
    store = open_workspace(workspace)
    dataset = prepare_dataset(store, file, recipe, progress)
    if output:
        export_dataset(dataset, output)
    prepare_for_heavy_work()
    chosen = resolve_model(store, model or DEFAULT_MODEL, progress)
    tokenizer = load_tokenizer(chosen)
    counts = count_dataset_tokens(dataset, tokenizer, context_of(chosen), progress)
    if json:
        print_json(_result(dataset, counts, output))
        return
    _print(dataset, counts, output)
    if show_tokens:
        _show(dataset, tokenizer, show_tokens, context_of(chosen))


def _result(dataset: Dataset, counts: TokenCounts, output: Path | None) -> dict[str, Any]:
    summary = dataset.artefact.summary
    return {
        "dataset": str(output or dataset.artefact.path),
        "id": dataset.artefact.reference,
        "rows": summary["rows"],
        "splits": summary["splits"],
        "tokens": asdict(counts),
    }


def _print(dataset: Dataset, counts: TokenCounts, output: Path | None) -> None:
    from carrara.data.dataset import QUARANTINE

    folder = output or dataset.artefact.path
    rows, splits = dataset.artefact.summary["rows"], dataset.artefact.summary["splits"]
    share = counts.supervised / counts.total
    print_line(f"rows      {rows['read']} read, {rows['kept']} kept, {rows['quarantined']} in quarantine")
    print_line(f"splits    {splits['train']} train, {splits['validation']} validation, {splits['test']} test")
    print_line(f"tokens    {counts.total:,}, of which {counts.supervised:,} ({share:.0%}) are learned")
    if counts.truncated_rows:
        print_line(f"cut       {counts.truncated_rows} rows lose the beginning of their context")
    if rows["quarantined"]:
        print_line(f"refused   {folder / QUARANTINE}")
    print_line(f"dataset   {folder}")


def _show(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, count: int, longest: int) -> None:
    """Print rows with what is learned marked by colour and, where there is none, by brackets."""
    from rich.console import Console
    from rich.text import Text

    from carrara.data.render import Rendered
    from carrara.data.rendering import render_split, token_spans

    console = Console(highlight=False)
    brackets = not console.is_terminal
    console.print(Text.assemble(("learned", _STYLES["learned"]), "  context  ", ("special", _STYLES["special"])))
    rows = [row for row in render_split(dataset, "train", tokenizer, longest) if isinstance(row, Rendered)]
    for row in rows[:count]:
        text = Text()
        for kind, words in token_spans(tokenizer, row):
            text.append(f"[[{words}]]" if brackets and kind == "learned" else words, style=_STYLES[kind])
        console.print(
            Text(f"— row {row.row}: {row.supervised_count} of {len(row.ids)} tokens are learned", style="dim")
        )
        console.print(text, soft_wrap=True)
