"""Log-likelihoods of answers: what questions share is read once, and the head runs only where a token is predicted.

Rows are cut into passes by their lengths alone, and what a pass gives is kept. So the same rows give the same numbers,
bit for bit, whichever of them are wanted and whatever was scored before.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from carrara.evaluate.known import Known, identity_of
from carrara.evaluate.rows import Row, common_opening
from carrara.models.forward import LOGITS_AT_ONCE, hidden_states, opening, project, read_on
from carrara.models.load import Loaded
from carrara.models.machine import give_back_memory
from carrara.models.passes import WORTH_SHARING, cut_by_length

if TYPE_CHECKING:
    import torch

FORMAT = 2  # raised when the same rows would give other numbers
_TOKENS = 2048  # padded tokens in one forward pass
_HELD = 4096  # tokens whose keys and values a pass holds, what was read before counted for each row
_LOGITS_PART = 4  # of LOGITS_AT_ONCE, since memory is also needed for the exponentials that are summed
_LONG = 384  # tokens, from which on a row is a pass, and its context read first: attention needs no mask for it then


@dataclass(frozen=True)
class Scored:
    """Summed log-likelihoods, in nats, of a row's answers, and the seconds that it took when it was scored.

    `before` says that an earlier evaluation scored it.
    """

    loglikelihoods: tuple[float, ...]
    seconds: float
    before: bool


class Scorer:
    """Scores rows with one model; `known` keeps what passes give from one evaluation to the next."""

    def __init__(self, loaded: Loaded, known: Known | None = None) -> None:
        self._loaded = loaded
        self._known = known
        self._opened: tuple[tuple[int, ...], Any] | None = None
        self._identity = {
            "format": FORMAT,
            **identity_of(loaded),
        }

    def score(self, rows: Sequence[Row], wanted: Sequence[bool] | None = None) -> list[Scored | None]:
        """For each row its score; None for those not wanted whose pass holds none that is.

        Numbers depend on all rows, not on which are wanted: their common opening is read once, and they are cut into
        passes by length.
        """
        results: list[Scored | None] = [None] * len(rows)
        shared = common_opening(rows) if rows and self._loaded.window is None else ()
        start = shared if len(shared) >= WORTH_SHARING else ()
        for indices in _passes(rows, len(start)):
            if wanted is None or any(wanted[index] for index in indices):
                for index, scored in zip(indices, self._pass(start, [rows[i] for i in indices]), strict=True):
                    results[index] = scored
        return results

    def _pass(self, start: tuple[int, ...], rows: list[Row]) -> list[Scored]:
        key = self._key(len(start), rows)
        if self._known is not None and (found := self._known.get(key)) is not None:
            return [Scored(tuple(values), seconds, before=True) for values, seconds in found]
        began = time.monotonic()
        sums = self._run(start, [row.behind(len(start)) for row in rows])
        seconds = (time.monotonic() - began) / len(rows)
        if self._known is not None:
            self._known.put(key, [(values, seconds) for values in sums])
        return [Scored(tuple(values), seconds, before=False) for values in sums]

    def _key(self, opened: int, rows: Sequence[Row]) -> str:
        """The name of a pass: everything that its numbers follow from."""
        content = [self._identity, opened, [(row.ids, row.context, row.branches, row.queries) for row in rows]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _run(self, start: tuple[int, ...], rows: list[Row]) -> list[list[float]]:
        import torch

        with torch.inference_mode():
            before = self._opening(start)
            if len(rows) == 1 and rows[0].is_tree and rows[0].opening >= _LONG and self._loaded.window is None:
                before = opening(self._loaded.network, 1) if before is None else before
                alone = rows[0].opening
                read_on(self._loaded.network, _tensor([rows[0].ids[:alone]], self._loaded), before)
                _let_go(self._loaded)
                rows = [rows[0].behind(alone)]
            elif before is not None:
                before.batch_repeat_interleave(len(rows))
            return _score(self._loaded, rows, before)

    def _opening(self, start: tuple[int, ...]) -> Any:
        """A cache of one row that has read `start`; None for nothing."""
        if not start:
            return None
        if self._opened is None or self._opened[0] != start:
            cache = opening(self._loaded.network, 1)
            read_on(self._loaded.network, _tensor([start], self._loaded), cache)
            self._opened = (start, cache)
        return copy.deepcopy(self._opened[1])


def _passes(rows: Sequence[Row], opened: int) -> list[list[int]]:
    """The rows of each forward pass, by length; those without branches keep to themselves, as they need no mask."""

    def fits(count: int, longest: int) -> bool:
        own = longest - opened
        return own < _LONG and count * own <= _TOKENS and count * longest <= _HELD

    passes: list[list[int]] = []
    for is_tree in (False, True):
        alike = [index for index, row in enumerate(rows) if row.is_tree == is_tree]
        passes += [[alike[place] for place in cut] for cut in cut_by_length([len(rows[i].ids) for i in alike], fits)]
    return passes


def _score(loaded: Loaded, rows: Sequence[Row], before: Any) -> list[list[float]]:
    import torch

    longest = max(len(row.ids) for row in rows)
    ids = _tensor([(*row.ids, *[0] * (longest - len(row.ids))) for row in rows], loaded)
    mask = positions = None
    if rows[0].is_tree:
        mask = torch.stack([_mask(row, longest) for row in rows]).unsqueeze(1).to(loaded.device)
        positions = torch.stack([_positions(row, longest) for row in rows]).to(loaded.device)
    hidden = hidden_states(loaded.network, ids, mask, positions, before)
    _let_go(loaded)
    queries = [(index * longest + place, token) for index, row in enumerate(rows) for place, token, _ in row.queries]
    values = iter(_log_probabilities(loaded, hidden.flatten(0, 1), queries))
    _let_go(loaded)
    sums = [[0.0] * row.answers for row in rows]
    for row, found in zip(rows, sums, strict=True):
        for _, _, answer in row.queries:
            found[answer] += next(values)
    return sums


def _let_go(loaded: Loaded) -> None:
    """Give back what a step freed; the next has tensors of other sizes and would take new memory beside it."""
    if loaded.device.type == "cpu":
        give_back_memory()


def _tensor(rows: Sequence[Sequence[int]], loaded: Loaded) -> torch.Tensor:
    import torch

    return torch.tensor(rows, dtype=torch.long, device=loaded.device)


def _log_probabilities(loaded: Loaded, hidden: torch.Tensor, wanted: list[tuple[int, int]]) -> list[float]:
    """The log-probability of a token after a flat position, for each pair; positions that repeat are projected once."""
    import torch

    places = sorted({place for place, _ in wanted})
    row_of = {place: row for row, place in enumerate(places)}
    values = [0.0] * len(wanted)
    by_chunk: dict[int, list[int]] = {}
    at_once = max(1, LOGITS_AT_ONCE[hidden.device.type] // (_LOGITS_PART * 4 * loaded.network.config.vocab_size))
    for number, (place, _) in enumerate(wanted):
        by_chunk.setdefault(row_of[place] // at_once, []).append(number)
    for chunk, numbers in by_chunk.items():
        first = chunk * at_once
        index = torch.tensor(places[first : first + at_once], device=hidden.device)
        pairs = [(row_of[wanted[n][0]] - first, wanted[n][1]) for n in numbers]
        found = _log_probabilities_after(loaded, hidden.index_select(0, index), pairs)
        for number, value in zip(numbers, found, strict=True):
            values[number] = value
    return values


def _log_probabilities_after(loaded: Loaded, hidden: torch.Tensor, pairs: list[tuple[int, int]]) -> list[float]:
    """The log-probability of a token after a row of `hidden` `(n, width)`, for each pair; the logits end with it."""
    import torch

    rows, tokens = torch.tensor(pairs, device=hidden.device).unbind(dim=1)
    logits = project(loaded.network, hidden).float()
    chosen = logits[rows, tokens]
    return (chosen - _logsumexp_within(logits)[rows]).tolist()


def _logsumexp_within(logits: torch.Tensor) -> torch.Tensor:
    """`torch.logsumexp` over the last dimension, by its own steps and so its bits, in the memory of `logits`."""
    highest = logits.amax(dim=-1, keepdim=True)
    return logits.sub_(highest).exp_().sum(dim=-1).log_().add_(highest.squeeze(-1))


def _positions(row: Row, longest: int) -> torch.Tensor:
    import torch

    positions = torch.zeros(longest, dtype=torch.long)
    parts = [torch.arange(row.context)]
    parts += [torch.arange(row.context, row.context + length) for length in row.branches]
    positions[: len(row.ids)] = torch.cat(parts)
    return positions


def _mask(row: Row, longest: int) -> torch.Tensor:
    """Which position may see which, `(longest, longest)`; padding sees itself, so that no row is empty."""
    import torch

    mask = torch.eye(longest, dtype=torch.bool)
    mask[: row.context, : row.context] = torch.ones(row.context, row.context, dtype=torch.bool).tril()
    ends = list(accumulate(row.branches, initial=row.context))
    for start, end in pairwise(ends):
        mask[start:end, : row.context] = True
        mask[start:end, start:end] = torch.ones(end - start, end - start, dtype=torch.bool).tril()
    return mask
