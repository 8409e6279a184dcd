"""Rendering a whole dataset for a model: rows, counts, and a view of what will be trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrara.data.dataset import SPLITS, Dataset, Split
from carrara.data.render import Rendered, render_example
from carrara.errors import Refusal
from carrara.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenCounts:
    """Tokens of a dataset under one tokenizer."""

    total: int
    supervised: int
    truncated_rows: int


def render_split(
    dataset: Dataset, split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> list[Rendered | Refusal]:
    """All rows of a split, in order, each rendered or with the reason why it cannot be."""
    rows: list[Rendered | Refusal] = []
    for example in dataset.examples(split):
        try:
            rows.append(render_example(tokenizer, example, dataset.render, max_length))
        except Refusal as refusal:
            rows.append(refusal)
    return rows


def render_usable(
    dataset: Dataset, split: Split, tokenizer: PreTrainedTokenizerBase, max_length: int, progress: Progress
) -> list[Rendered]:
    """The rows of a split that can be rendered; says how many cannot, raises Refusal if none of several can."""
    rows = render_split(dataset, split, tokenizer, max_length)
    refused = [row for row in rows if isinstance(row, Refusal)]
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


def count_dataset_tokens(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, progress: Progress
) -> TokenCounts:
    """Totals over all splits of a dataset."""
    return count_tokens(
        [row for split in SPLITS for row in render_usable(dataset, split, tokenizer, max_length, progress)]
    )


def usable_length(wanted: int | None, context: int) -> int:
    """The longest row in tokens; raises Refusal if more is wanted than the model's context holds."""
    if wanted and wanted > context:
        raise Refusal(f"tune.max_length is {wanted}, but the model's context holds {context} tokens; lower it.")
    return wanted or context


def token_spans(tokenizer: PreTrainedTokenizerBase, row: Rendered) -> list[tuple[str, str]]:
    """Runs of a row's text with their kind: `learned`, `context` or `special`."""
    special = set(tokenizer.all_special_ids)
    runs: list[tuple[str, list[int]]] = []
    for token, learned in zip(row.ids, row.supervised, strict=True):
        kind = "learned" if learned else "special" if token in special else "context"
        if runs and runs[-1][0] == kind:
            runs[-1][1].append(token)
        else:
            runs.append((kind, [token]))
    return [(kind, str(tokenizer.decode(ids, skip_special_tokens=False))) for kind, ids in runs]
