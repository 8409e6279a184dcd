"""`carrara data`: show, sample and diff of prepared datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import print_json, print_line, print_table
from carrara.cli.options import JsonOption, WorkspaceOption

if TYPE_CHECKING:
    from carrara.data.dataset import Dataset
    from carrara.data.diff import Aligned, Changed, Diff, Moved, Row
    from carrara.data.example import Example
    from carrara.workspace import Workspace

data_app = typer.Typer(help="Prepared datasets: show, sample, diff.", rich_markup_mode=None)

DatasetArgument = Annotated[str, typer.Argument(help="A folder, dataset/<id>, or the name of the file it came from.")]
ShowValuesOption = Annotated[bool, typer.Option("--show-values", help="Do not mask personal data.")]

_SHOWN = 20  # rows of each kind of difference that are printed
_WIDTH = 100  # characters of a row in a listing
_AROUND = 40  # characters of what stayed equal, shown on either side of a changed word


@data_app.command("show")
def show_command(dataset: DatasetArgument, json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """One dataset: rows, splits, labels, duplicates, personal data, contamination."""
    from carrara.data.dataset import find_dataset
    from carrara.pages import rows as rows_of
    from carrara.workspace import open_workspace

    store = open_workspace(workspace)
    account = _account(store, find_dataset(store, dataset))
    if json:
        print_json(account)
        return
    rows, duplicates = account["rows"], account["duplicates"]
    dropped = {kind.replace("_", " "): number for kind, number in account["dropped"].items() if number}
    print_line(
        f"dataset   {account['name']} ({account['id']}), prepared {account['created'][:16].replace('T', ' ')} UTC"
    )
    print_line(f"rows      {rows['read']:,} read, {rows['kept']:,} kept, {rows['quarantined']:,} in quarantine")
    print_line(f"dropped   {_listed(dropped)}")
    print_line(f"splits    {_listed(account['splits'])}")
    if account["labels"]:
        print_line(f"labels    {_listed({label: sum(each.values()) for label, each in account['labels'].items()})}")
    exact, near, conflicting = (f"{duplicates[kind]:,}" for kind in ("exact", "near", "conflicting"))
    print_line(f"copies    {exact} exact, {near} near; {conflicting} prompts answered in more than one way")
    print_line(f"personal  {_listed(account['personal_data'])}")
    leaks = [f"{rows_of(number)} with questions of {_line(name)}" for name, number in account["contaminated"].items()]
    print_line(f"leaks     {', '.join(leaks) or 'compared with no benchmark'}")
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
    from carrara.data.dataset import find_dataset
    from carrara.workspace import open_workspace

    found = find_dataset(open_workspace(workspace), dataset)
    display = _display(show_values)
    rows = [_masked(example.to_json(), display) for example in _sampled(found, split, count, seed)]
    if json:
        print_json({"dataset": found.artefact.reference, "split": split, "seed": seed, "rows": rows})
        return
    for row in rows:
        label = f", label {_line(row['label'])}" if "label" in row else ""
        print_line(f"— {_line(row['file'])}, row {row['row']}{label}")
        for message in row["messages"]:
            print_line(f"{message['role'] + ':':<11}{_printable(message['content'])}")


@data_app.command("diff")
def diff_command(
    before: DatasetArgument,
    after: DatasetArgument,
    show_values: ShowValuesOption = False,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Rows added, removed, changed or moved to another split, from one dataset to another."""
    from carrara.data.dataset import find_dataset
    from carrara.data.diff import diff_examples
    from carrara.workspace import open_workspace

    store = open_workspace(workspace)
    old, new = find_dataset(store, before), find_dataset(store, after)
    diff = diff_examples(_Rows(old), _Rows(new))
    display = _display(show_values)
    if json:
        print_json({"before": old.artefact.reference, "after": new.artefact.reference, **_diff_json(diff, display)})
    else:
        _print_diff(diff, display)


@dataclass(frozen=True)
class _Rows:
    """The rows of a dataset with their splits, read anew each time they are gone through."""

    dataset: Dataset

    def __iter__(self) -> Iterator[tuple[str, Example]]:
        from carrara.data.dataset import SPLITS

        return ((split, example) for split in SPLITS for example in self.dataset.each(split))


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
    return ", ".join(f"{number:,} {_line(name)}" for name, number in counts.items()) or "none"


def _sampled(dataset: Dataset, split: str, count: int, seed: int) -> list[Example]:
    """The rows whose digests with the seed are the least, in the order of the source."""
    import hashlib
    import heapq
    import json

    from carrara.data.dataset import SPLITS
    from carrara.data.example import example_from_json
    from carrara.errors import Refusal

    if split not in SPLITS:
        raise Refusal(f"there is no split '{split}'; known are {', '.join(SPLITS)}.")

    def place(numbered: tuple[int, bytes]) -> bytes:
        return hashlib.sha256(f"{seed}:".encode() + numbered[1]).digest()

    with (dataset.artefact.path / f"{split}.jsonl").open("rb") as file:
        chosen = heapq.nsmallest(count, enumerate(file), key=place)
    return [example_from_json(json.loads(raw)) for _, raw in sorted(chosen)]


def _display(show_values: bool) -> Callable[[str], str]:
    from carrara.data.checks.personal import load_plugins, mask

    plugins = load_plugins()
    return str if show_values else lambda text: mask(text, plugins)


def _masked(value: Any, display: Callable[[str], str]) -> Any:
    """A JSON value with every text as it may be shown; a row's id is a digest and stays."""
    if isinstance(value, str):
        return display(value)
    if isinstance(value, Mapping):
        return {key: inner if key == "id" else _masked(inner, display) for key, inner in value.items()}
    return [_masked(inner, display) for inner in value] if isinstance(value, (list, tuple)) else value


def _diff_json(diff: Diff, display: Callable[[str], str]) -> dict[str, Any]:
    return {
        "counts": _counts(diff),
        "added": [_row_json(row, display) for row in diff.added],
        "removed": [_row_json(row, display) for row in diff.removed],
        "changed": [
            {"before": _row_json(each.before, display), "after": _row_json(each.after, display), "share": each.share}
            for each in diff.changed
        ],
        "moved": [asdict(each) for each in diff.moved],
    }


def _counts(diff: Diff) -> dict[str, int]:
    kinds = {"added": diff.added, "removed": diff.removed, "changed": diff.changed, "moved": diff.moved}
    return {"same": diff.same, **{kind: len(rows) for kind, rows in kinds.items()}}


def _row_json(row: Row, display: Callable[[str], str]) -> dict[str, Any]:
    return {"split": row.split, **_masked(row.example.to_json(), display)}


def _print_diff(diff: Diff, display: Callable[[str], str]) -> None:
    print_table(list(_counts(diff)), [[f"{number:,}" for number in _counts(diff).values()]])
    _print_kind("added", diff.added, lambda row: [f"+ {_beginning(row, display)}"])
    _print_kind("removed", diff.removed, lambda row: [f"- {_beginning(row, display)}"])
    _print_kind("changed", diff.changed, lambda each: _change(each, display))
    _print_kind("moved", diff.moved, _move)


def _print_kind(kind: str, rows: Sequence[Any], lines: Callable[[Any], list[str]]) -> None:
    if not rows:
        return
    more = f" (the first {_SHOWN} of {len(rows):,}; --json gives all)" if len(rows) > _SHOWN else ""
    print_line(f"\n{kind}{more}")
    for row in rows[:_SHOWN]:
        for text in lines(row):
            print_line(text)


def _beginning(row: Row, display: Callable[[str], str]) -> str:
    text = display(f"{row.example.context} → {row.example.answer}" if row.example.context else row.example.answer)
    return f"{_place(row)}  {_line(text, _WIDTH)}"


def _place(row: Row) -> str:
    return f"{_line(row.example.file)}, row {row.example.row} ({row.split})"


def _change(changed: Changed, display: Callable[[str], str]) -> list[str]:
    """Where a row was and is, and its words: `[-gone-]` and `{+new+}`, what stayed equal cut short between them."""
    from carrara.data.diff import align_words

    def body(row: Row) -> str:
        return display(f"{row.example.context}\n{row.example.answer}")

    labels = changed.before.example.label, changed.after.example.label
    relabelled = [f"  label [-{_line(str(labels[0]))}-]{{+{_line(str(labels[1]))}+}}"] if labels[0] != labels[1] else []
    words = " ".join(_woven(run) for run in align_words(body(changed.before), body(changed.after)))
    return [f"~ {_place(changed.before)} → {_place(changed.after)}", *relabelled, "  " + words]


def _woven(run: Aligned) -> str:
    if run.alike:
        return _cut_middle(run.after)
    gone = f"[-{_line(run.before, _WIDTH)}-]" if run.before else ""
    return gone + (f"{{+{_line(run.after, _WIDTH)}+}}" if run.after else "")


def _cut_middle(text: str) -> str:
    words = _line(text, len(text) + 1)
    return words if len(words) <= 2 * _AROUND else f"{words[:_AROUND]} … {words[-_AROUND:]}"


def _move(moved: Moved) -> list[str]:
    return [f"> {_line(moved.file)}, row {moved.row}: {moved.before} → {moved.after}"]


def _line(text: str, most: int = 160) -> str:
    from carrara.pages import line

    return line(text, most)


def _printable(text: str) -> str:
    """The text without what could steer the terminal; its lines stay lines."""
    return "\n".join(_line(each, len(each) + 1) for each in text.split("\n"))
