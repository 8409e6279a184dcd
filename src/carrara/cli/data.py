"""`carrara data`: show, sample and diff of prepared datasets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption
from carrara.wording import count_of_rows, line, lines

if TYPE_CHECKING:
    from carrara.data.dataset import Dataset
    from carrara.data.diff import Changed, Diff, Moved, Row
    from carrara.data.example import Example
    from carrara.workspace import Workspace

data_app = typer.Typer(help="Prepared datasets: show, sample, diff.", rich_markup_mode=None)

DatasetArgument = Annotated[str, typer.Argument(help="A folder, dataset/<id>, or the name of the file it came from.")]
ShowValuesOption = Annotated[bool, typer.Option("--show-values", help="Do not mask personal data.")]

_SHOWN = 20  # rows of each kind of difference that are printed
_WIDTH = 100  # characters of a row in a listing

_Display = Callable[[str], str]  # how a text of a row may be shown


@data_app.command("show")
def show_command(dataset: DatasetArgument, json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """One dataset: rows, splits, labels, duplicates, personal data, contamination."""
    from carrara.data.dataset import find_dataset
    from carrara.workspace import open_workspace

    store = open_workspace(workspace)
    account = _account(store, find_dataset(store, dataset))
    if json:
        print_json(account)
        return
    rows, duplicates = account["rows"], account["duplicates"]
    dropped = {kind.replace("_", " "): number for kind, number in account["dropped"].items() if number}
    created = account["created"][:16].replace("T", " ")
    print_line(f"dataset   {line(account['name'])} ({account['id']}), prepared {created} UTC")
    print_line(f"rows      {rows['read']:,} read, {rows['kept']:,} kept, {rows['quarantined']:,} in quarantine")
    print_line(f"dropped   {_listed(dropped)}")
    print_line(f"splits    {_listed(account['splits'])}")
    if account["labels"]:
        print_line(f"labels    {_listed({label: sum(each.values()) for label, each in account['labels'].items()})}")
    exact, near, conflicting = (f"{duplicates[kind]:,}" for kind in ("exact", "near", "conflicting"))
    print_line(f"copies    {exact} exact, {near} near; {conflicting} prompts answered in more than one way")
    print_line(f"personal  {_listed(account['personal_data'])}")
    copied = account["contaminated"].items()
    leaks = ", ".join(f"{count_of_rows(number)} with questions of {line(name)}" for name, number in copied)
    print_line(f"leaks     {leaks or 'compared with no benchmark'}")
    print_line(f"folder    {account['dataset']}")
    if account["dossier"]:
        print_line(f"dossier   {account['dossier']}")


@data_app.command("sample")
def sample_command(
    dataset: DatasetArgument,
    count: Annotated[int, typer.Option("-n", min=1, help="How many rows.")] = 5,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "train",
    seed: Annotated[int, typer.Option(help="Another seed takes other rows.")] = 0,
    show_values: ShowValuesOption = False,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Rows taken at random, personal data masked."""
    from carrara.data.checks.personal import display
    from carrara.data.dataset import find_dataset
    from carrara.workspace import open_workspace

    found = find_dataset(open_workspace(workspace), dataset)
    shown = display(show_values)
    rows = [_example_json(example, shown) for example in found.sample(split, count, seed)]
    if json:
        print_json({"dataset": found.artefact.reference, "split": split, "seed": seed, "rows": rows})
        return
    for row in rows:
        label = f", label {line(row['label'])}" if "label" in row else ""
        print_line(f"— {line(row['file'])}, row {row['row']}{label}")
        for message in row["messages"]:
            print_line(f"{message['role'] + ':':<11}{lines(message['content'])}")


@data_app.command("diff")
def diff_command(
    before: DatasetArgument,
    after: DatasetArgument,
    show_values: ShowValuesOption = False,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Rows added, removed, changed or moved to another split, from one dataset to another."""
    from carrara.data.checks.personal import display
    from carrara.data.dataset import find_dataset
    from carrara.data.diff import diff_examples
    from carrara.workspace import open_workspace

    store = open_workspace(workspace)
    old, new = find_dataset(store, before), find_dataset(store, after)
    diff = diff_examples(old.rows(), new.rows())
    shown = display(show_values)
    if json:
        print_json({"before": old.artefact.reference, "after": new.artefact.reference, **_diff_json(diff, shown)})
    else:
        _print_diff(diff, shown)


def _account(store: Workspace, dataset: Dataset) -> dict[str, Any]:
    """What a program reads of a dataset; `dossier` is the page of the newest that was made of it."""
    from carrara.data.dossier import DOSSIER_PAGE
    from carrara.errors import Refusal

    artefact, summary = dataset.artefact, dataset.artefact.summary
    if "duplicates" not in summary:
        raise Refusal(f"{artefact.reference} was prepared by an older Carrara, without checks; prepare the rows anew.")
    made = [each for each in store.list("dossier") if each.inputs.get("dataset") == artefact.reference]
    return {
        "dataset": str(artefact.path),
        "id": artefact.reference,
        "name": artefact.name,
        "created": artefact.created,
        "rows": summary["rows"],
        "dropped": summary["dropped"],
        "splits": summary["splits"],
        "labels": dataset.checks["labels"],
        "duplicates": summary["duplicates"],
        "personal_data": summary["personal_data"],
        "contaminated": summary["contaminated"],
        "dossier": str(made[0].path / DOSSIER_PAGE) if made else None,
    }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {line(name)}" for name, number in counts.items()) or "none"


def _diff_json(diff: Diff, display: _Display) -> dict[str, Any]:
    return {
        "counts": diff.counts,
        "added": [_row_json(row, display) for row in diff.added],
        "removed": [_row_json(row, display) for row in diff.removed],
        "changed": [
            {"before": _row_json(each.before, display), "after": _row_json(each.after, display), "share": each.share}
            for each in diff.changed
        ],
        "moved": [asdict(each) for each in diff.moved],
    }


def _row_json(row: Row, display: _Display) -> dict[str, Any]:
    return {"split": row.split, **_example_json(row.example, display)}


def _example_json(example: Example, display: _Display) -> dict[str, Any]:
    """An example with every text as it may be shown; its id is a digest and stays."""
    from carrara.data.json_texts import map_texts

    return map_texts(example.to_json(), display) | {"id": example.id, "file": example.file}


def _print_diff(diff: Diff, display: _Display) -> None:
    print_table(list(diff.counts), [[f"{number:,}" for number in diff.counts.values()]])
    _print_kind("added", diff.added, lambda row: [f"+ {_beginning(row, display)}"])
    _print_kind("removed", diff.removed, lambda row: [f"- {_beginning(row, display)}"])
    _print_kind("changed", diff.changed, lambda each: _change(each, display))
    _print_kind("moved", diff.moved, _move)


def _print_kind(kind: str, rows: Sequence[Any], told: Callable[[Any], list[str]]) -> None:
    if not rows:
        return
    more = f" (the first {_SHOWN} of {len(rows):,}; --json gives all)" if len(rows) > _SHOWN else ""
    print_line(f"\n{kind}{more}")
    for row in rows[:_SHOWN]:
        for text in told(row):
            print_line(text)


def _beginning(row: Row, display: _Display) -> str:
    text = display(f"{row.example.context} → {row.example.answer}" if row.example.context else row.example.answer)
    return f"{_place(row)}  {line(text, _WIDTH)}"


def _place(row: Row) -> str:
    return f"{line(row.example.file)}, row {row.example.row} ({row.split})"


def _change(changed: Changed, display: _Display) -> list[str]:
    """Where a row was and is, and its words woven together."""
    from carrara.data.align import woven

    old, new = (line(display(str(each.example.label))) for each in (changed.before, changed.after))
    relabelled = [f"  label [-{old}-]{{+{new}+}}"] if old != new else []
    words = woven(display(changed.before.example.body), display(changed.after.example.body))
    return [f"~ {_place(changed.before)} → {_place(changed.after)}", *relabelled, f"  {words}"]


def _move(moved: Moved) -> list[str]:
    return [f"> {line(moved.file)}, row {moved.row}: {moved.before} → {moved.after}"]
