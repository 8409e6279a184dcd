"""Log-likelihoods of answers: one forward pass over a question's shared context and all its choices.

A row holds the context once and each choice as a branch behind it. Positions restart at the end of the
context for every branch, and the mask lets a branch see the context and itself, so each choice is scored
as if it stood alone. The head runs only where a token is predicted, its softmax in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrara.models.forward import hidden_states, project
from carrara.models.load import Loaded

if TYPE_CHECKING:
    import torch

_TOKENS = 2048  # padded tokens in one forward pass
_PREDICTIONS = 2048  # positions whose logits exist at once


@dataclass(frozen=True)
class Row:
    """`ids` are the context and then the branches; each query is (position, predicted token, answer)."""

    ids: tuple[int, ...]
    context: int
    branches: tuple[int, ...]
    queries: tuple[tuple[int, int, int], ...]
    answers: int


def rows_of_question(
    context: Sequence[int], answers: Sequence[Sequence[int]], longest: int, window: int | None = None
) -> list[Row]:
    """The rows that score some answers to a context: one, or one for each answer where they cannot share it.

    `longest` is the model's context. Where context and answer exceed it, the context loses its beginning,
    differently for each answer, as in lm-eval. A row beyond the model's sliding attention `window` has no
    branches, since the tree mask would hide the window. Raises ValueError for an answer longer than `longest`.
    """
    tree = _tree(tuple(context), [tuple(answer) for answer in answers])
    fits = all(len(context) + len(answer) - 1 <= longest for answer in answers)
    if fits and (window is None or len(tree.ids) <= window):
        return [tree]
    rows = []
    for answer in answers:
        kept = longest - len(answer) + 1
        if kept < 1:
            raise ValueError("an answer is longer than the model's context")
        rows.append(_tree(tuple(context[-kept:]), [tuple(answer)]))
    return rows


def row_of_text(ids: Sequence[int], predicted: Sequence[bool]) -> Row:
    """A row that scores, as one answer, the marked tokens of a text."""
    queries = [(place - 1, token, 0) for place, token in enumerate(ids) if predicted[place] and place]
    return Row(tuple(ids), len(ids), (), tuple(queries), 1)


def score_rows(loaded: Loaded, rows: Sequence[Row]) -> list[list[float]]:
    """For each row the summed log-likelihood, in nats, of each of its answers."""
    # Rows without branches keep to themselves: they need no mask, and may need the model's own.
    order = sorted(range(len(rows)), key=lambda index: (_has_tree(rows[index]), len(rows[index].ids)))
    results: list[list[float]] = [[] for _ in rows]
    start = 0
    while start < len(order):
        end = start + 1
        while end < len(order) and _may_join(rows[order[start]], rows[order[end]], end - start):
            end += 1
        batch = [rows[index] for index in order[start:end]]
        for index, sums in zip(order[start:end], _score_batch(loaded, batch), strict=True):
            results[index] = sums
        start = end
    return results


def _has_tree(row: Row) -> bool:
    return len(row.branches) > 1


def _may_join(first: Row, row: Row, size: int) -> bool:
    return _has_tree(first) == _has_tree(row) and (size + 1) * len(row.ids) <= _TOKENS


def _tree(context: tuple[int, ...], answers: list[tuple[int, ...]]) -> Row:
    ids = list(context)
    queries = []
    for number, answer in enumerate(answers):
        queries.append((len(context) - 1, answer[0], number))
        for offset, token in enumerate(answer[1:]):
            queries.append((len(ids) + offset, token, number))
        ids += answer[:-1]
    branches = tuple(len(answer) - 1 for answer in answers)
    return Row(tuple(ids), len(context), branches, tuple(queries), len(answers))


def _score_batch(loaded: Loaded, rows: Sequence[Row]) -> list[list[float]]:
    import torch

    longest = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    positions = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        positions[index, : len(row.ids)] = _positions(row)
    mask = None
    if _has_tree(rows[0]):
        mask = torch.stack([_mask(row, longest) for row in rows]).unsqueeze(1).to(loaded.device)
    queries = [
        (index * longest + place, token, index, answer)
        for index, row in enumerate(rows)
        for place, token, answer in row.queries
    ]
    with torch.inference_mode():
        hidden = hidden_states(loaded.network, ids.to(loaded.device), mask, positions.to(loaded.device))
        values = _log_probabilities(loaded, hidden.flatten(0, 1), [(place, token) for place, token, _, _ in queries])
    sums = [[0.0] * row.answers for row in rows]
    for (_, _, index, answer), value in zip(queries, values, strict=True):
        sums[index][answer] += value
    return sums


def _log_probabilities(loaded: Loaded, hidden: torch.Tensor, wanted: list[tuple[int, int]]) -> list[float]:
    """The log-probability of a token after a flat position, for each pair; positions that repeat are projected once."""
    import torch

    places = sorted({place for place, _ in wanted})
    row_of = {place: row for row, place in enumerate(places)}
    values = [0.0] * len(wanted)
    by_chunk: dict[int, list[int]] = {}
    for number, (place, _) in enumerate(wanted):
        by_chunk.setdefault(row_of[place] // _PREDICTIONS, []).append(number)
    for chunk, numbers in by_chunk.items():
        first = chunk * _PREDICTIONS
        index = torch.tensor(places[first : first + _PREDICTIONS], device=hidden.device)
        logits = project(loaded.network, hidden.index_select(0, index)).float()
        rows = torch.tensor([row_of[wanted[n][0]] - first for n in numbers], device=hidden.device)
        tokens = torch.tensor([wanted[n][1] for n in numbers], device=hidden.device)
        found = logits[rows, tokens] - torch.logsumexp(logits, dim=-1)[rows]
        for number, value in zip(numbers, found.tolist(), strict=True):
            values[number] = value
    return values


def _positions(row: Row) -> torch.Tensor:
    import torch

    parts = [torch.arange(row.context)]
    parts += [torch.arange(row.context, row.context + length) for length in row.branches]
    return torch.cat(parts)


def _mask(row: Row, longest: int) -> torch.Tensor:
    """Which position may see which, `(longest, longest)`; padding sees itself, so that no row is empty."""
    import torch

    mask = torch.eye(longest, dtype=torch.bool)
    mask[: row.context, : row.context] = torch.ones(row.context, row.context, dtype=torch.bool).tril()
    start = row.context
    for length in row.branches:
        end = start + length
        mask[start:end, : row.context] = True
        mask[start:end, start:end] = torch.ones(length, length, dtype=torch.bool).tril()
        start = end
    return mask
