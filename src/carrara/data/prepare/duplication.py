"""What rows have to do with each other: copies, near-copies, conflicting answers, and who must stay on one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrara.data.checks.duplicates import Near, cluster, find_near, prompt_key
from carrara.data.prepare.rows import KeptRows

if TYPE_CHECKING:
    import numpy as np

_FORM = 20  # rows; a prompt that more of them share is a form that says nothing about a row


@dataclass(frozen=True)
class Duplication:
    """`copies` and `sides` `(rows,)` name each row's cluster by its first row; `sides` joins also prompts and groups.

    `exact` and `near` are the rows that copy an earlier one, `forms` `(rows,)` whether a row's prompt is a form that
    many share, `conflicts` the rows of each prompt that is answered in more than one way.
    """

    copies: np.ndarray
    sides: np.ndarray
    exact: list[int]
    near: list[int]
    pairs: list[Near]
    forms: np.ndarray
    conflicts: list[list[int]]


def find_duplication(rows: KeptRows, groups: Sequence[str | None]) -> Duplication:
    """Look through all rows; `groups` holds the name of each row's group, None for a row without."""
    import numpy as np

    count = len(rows)
    firsts = _first_of_equals(rows.exact)
    exact = np.flatnonzero(firsts != np.arange(count))
    pairs = find_near(rows.sketches, lambda number: rows.example(number).body)
    edges = [*zip(exact.tolist(), firsts[exact].tolist()), *((pair.first, pair.second) for pair in pairs)]
    copies = cluster(count, edges)
    is_exact = np.zeros(count, dtype=bool)
    is_exact[exact] = True
    near = np.flatnonzero((copies != np.arange(count)) & ~is_exact)
    first_asked = _first_of_equals(rows.prompt)
    times_asked = np.bincount(first_asked, minlength=count)[first_asked]
    asked = (times_asked > 1) & (times_asked <= _FORM) & (rows.prompt != prompt_key(""))  # documents have no prompt
    edges += [(number, int(first_asked[number])) for number in np.flatnonzero(asked)]
    edges += _group_edges(groups)
    return Duplication(
        copies=copies,
        sides=cluster(count, edges),
        exact=exact.tolist(),
        near=near.tolist(),
        pairs=pairs,
        forms=times_asked > _FORM,
        conflicts=_conflicts(rows, asked),
    )


def _first_of_equals(keys: np.ndarray) -> np.ndarray:
    """For each row the first row of the same key."""
    import numpy as np

    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return first[inverse]


def _group_edges(groups: Sequence[str | None]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    return [(number, first.setdefault(group, number)) for number, group in enumerate(groups) if group is not None]


def _conflicts(rows: KeptRows, asked: np.ndarray) -> list[list[int]]:
    """The rows of each prompt that has more than one answer, in the order of the first row of each."""
    import numpy as np

    chosen = np.flatnonzero(asked)
    order = chosen[np.argsort(rows.prompt[chosen], kind="stable")]
    borders = np.flatnonzero(np.diff(rows.prompt[order])) + 1
    members: list[Any] = [part.tolist() for part in np.split(order, borders) if len(part)]
    return sorted(part for part in members if len(set(rows.answer[part].tolist())) > 1)
