"""What the scorer reads: a question's shared context once, each answer as a branch behind it.

Positions restart at the end of the context for every branch, and a branch sees the context and itself, so that each
answer is scored as if it stood alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from carrara.models.passes import common_start

Pair = tuple[Sequence[int], Sequence[int]]


@dataclass(frozen=True)
class Row:
    """`ids` are the context and then the branches; each query is (position, predicted token, answer).

    `cut` says that the context lost its beginning.
    """

    ids: tuple[int, ...]
    context: int
    branches: tuple[int, ...]
    queries: tuple[tuple[int, int, int], ...]
    answers: int
    cut: bool = False

    @property
    def is_tree(self) -> bool:
        return len(self.branches) > 1

    @property
    def opening(self) -> int:
        """How many of the first ids predict nothing that is asked, and so may be read before."""
        return min([self.context, *(position for position, _, _ in self.queries)])

    def behind(self, opening: int) -> Row:
        """The row without its first ids, which have been read."""
        queries = tuple((position - opening, token, answer) for position, token, answer in self.queries)
        return Row(self.ids[opening:], self.context - opening, self.branches, queries, self.answers, self.cut)


def rows_of_question(pairs: Sequence[Pair], longest: int, window: int | None = None) -> list[Row]:
    """The rows that score some (context, answer) pairs: one, or one for each pair where they cannot share it.

    What all contexts begin with is shared. `longest` is the model's context. Where context and answer exceed it, the
    context loses its beginning, differently for each answer, as in lm-eval. A row beyond the model's sliding attention
    `window` has no branches, since the tree mask would hide the window. Raises ValueError for an answer of no tokens
    and for one longer than `longest`.
    """
    if not all(context and answer for context, answer in pairs):
        raise ValueError("an answer or what stands before it has no tokens")
    tree = _tree(pairs)
    fits = all(len(context) + len(answer) - 1 <= longest for context, answer in pairs)
    if fits and (window is None or len(tree.ids) <= window):
        return [tree]
    rows = []
    for context, answer in pairs:
        kept = longest - len(answer) + 1
        if kept < 1:
            raise ValueError("an answer is longer than the model's context")
        rows.append(_tree([(context[-kept:], answer)], cut=len(context) > kept))
    return rows


def row_of_text(ids: Sequence[int], predicted: Sequence[bool]) -> Row:
    """A row that scores, as one answer, the marked tokens of a text."""
    queries = [(place - 1, token, 0) for place, token in enumerate(ids) if predicted[place] and place]
    return Row(tuple(ids), len(ids), (), tuple(queries), 1)


def common_opening(rows: Sequence[Row]) -> tuple[int, ...]:
    """The ids that all rows begin with and that may be read before them."""
    shared = common_start([row.ids for row in rows], min(row.opening for row in rows))
    return rows[0].ids[:shared]


def _tree(pairs: Sequence[Pair], cut: bool = False) -> Row:
    shared = _shared([context for context, _ in pairs])
    ids = list(pairs[0][0][:shared])
    branches, queries = [], []
    for number, (context, answer) in enumerate(pairs):
        branch = [*context[shared:], *answer[:-1]]
        last = len(ids) + len(context) - shared - 1  # the place that predicts the answer's first token
        queries.append((last if len(context) > shared else shared - 1, answer[0], number))
        queries += [(last + offset, token, number) for offset, token in enumerate(answer[1:], start=1)]
        branches.append(len(branch))
        ids += branch
    return Row(tuple(ids), shared, tuple(branches), tuple(queries), len(pairs), cut)


def _shared(contexts: Sequence[Sequence[int]]) -> int:
    """How many first ids all contexts have in common."""
    alike = zip(*contexts, strict=False)
    return next((place for place, ids in enumerate(alike) if len(set(ids)) > 1), min(map(len, contexts)))
