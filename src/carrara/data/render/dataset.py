"""Rendering a whole dataset for a model: rows, counts, and a view of what will be trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrara.data.dataset import Dataset, Split
from carrara.data.example import Example
from carrara.data.render.example import Mode, Rendered, RowRefusal, render_examples
from carrara.errors import Refusal
from carrara.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_AT_ONCE = 1000  # rows


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of a dataset under one tokenizer."""

    total: int
    supervised: int
    truncated_rows: int


def render_split(
    dataset: Dataset, split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Rendered | RowRefusal]:
    """All rows of a split, in order, each rendered or with the reason why it cannot be."""
    examples = dataset.examples(split)
    return [
        row
        for start in range(0, len(examples), _AT_ONCE)
        for row in render_examples(tokenizer, examples[start : start + _AT_ONCE], dataset.render, max_length)
    ]


def render_usable(
    dataset: Dataset, split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int, progress: Progress
) -> list[Rendered]:
    """The rows of a split that can be rendered; says how many cannot, raises Refusal if none of several can."""
    rows = render_split(dataset, split, tokenizer, max_length)
    refused = [row for row in rows if isinstance(row, RowRefusal)]
    usable = [row for row in rows if isinstance(row, Rendered)]
    if refused and not usable:
        raise Refusal(f"no row of the {split} split can be used; {refused[0]}")
    if refused:
        progress.say(f"{len(refused)} rows of the {split} split are set aside; the first: {refused[0]}")
    return usable


def count_tokens(rows: Sequence[Rendered]) -> TokenCounts:
    """Totals over rendered rows."""
    return TokenCounts(
        total=sum(len(row.ids) for row in rows),
        supervised=sum(row.supervised_count for row in rows),
        truncated_rows=sum(row.cut > 0 for row in rows),
    )


def usable_length(wanted: int | None, context: int) -> int:
    """The longest row in tokens; raises Refusal if more is wanted than the model's context holds, or it holds none."""
    if context < 2:
        raise Refusal("the model's virtual tokens leave no room for rows in its context; lower tune.virtual_tokens.")
    if wanted and wanted > context:
        raise Refusal(f"tune.max_length is {wanted}, but the model's context holds {context} tokens; lower it.")
    return wanted or context


def token_spans(tokenizer: PreTrainedTokenizerBase, row: Rendered) -> list[tuple[str, str]]:
    """Runs of a row's text with their kind: `learned`, `context` or `special`."""
    marked = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    special = marked.union(tokenizer.all_special_ids)
    runs: list[tuple[str, list[int]]] = []
    for token, learned in zip(row.ids, row.supervised, strict=True):
        kind = "learned" if learned else "special" if token in special else "context"
        if runs and runs[-1][0] == kind:
            runs[-1][1].append(token)
        else:
            runs.append((kind, [token]))
    return [(kind, str(tokenizer.decode(ids, skip_special_tokens=False))) for kind, ids in runs]


def shown_rows(
    examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase, mode: Mode, max_length: int, count: int
) -> list[dict[str, Any]]:
    """The first `count` rows that can be rendered, token by token: the dossier's `shown` but for the split."""
    shown: list[dict[str, Any]] = []
    rest = iter(examples)
    while len(shown) < count and (example := next(rest, None)):
        row = render_examples(tokenizer, [example], mode, max_length)[0]
        if isinstance(row, Rendered):
            spans = [list(span) for span in token_spans(tokenizer, row)]
            sizes = {"learned": row.supervised_count, "tokens": len(row.ids)}
            shown.append({"file": example.file, "row": example.row, **sizes, "spans": spans})
    return shown
