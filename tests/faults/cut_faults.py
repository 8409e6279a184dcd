"""What a broken trainer would do with rows that are too long; all others stay as they are."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import carrara.data.render.example as rendering
from carrara.data.render.example import Rendered
from tests.faults.ground import Broken, DoesNotApply, SetUp, TrainerFault
from tests.faults.rows import long
from tests.faults.step_faults import rendered


def _cut(setup: SetUp, chance: random.Random, change: Callable[[Rendered], Rendered]) -> Broken:
    setup.rows = long(chance, 40, setup.kit.system)
    return rendered(lambda row: change(row) if row.cut else row)


def end_of_context_cut(setup: SetUp, chance: random.Random) -> Broken:
    """The last answer follows on what does not stand before it."""
    by = chance.randint(1, 8)

    def change(row: Rendered) -> Rendered:
        start = len(row.ids) - 1 - row.supervised[-2::-1].index(False)  # of the last answer
        ids, mask = ([*each[: start - by], *each[start:]] for each in (row.ids, row.supervised))
        return replace(row, ids=tuple(ids), supervised=tuple(mask), cut=row.cut + by)

    return _cut(setup, chance, change)


def one_token_more_cut(setup: SetUp, chance: random.Random) -> Broken:
    """The first answer that is left begins in the middle, or its context by a token too late."""
    by = chance.randint(1, 3)
    return _cut(
        setup, chance, lambda row: replace(row, ids=row.ids[by:], supervised=(False, *row.supervised[by + 1 :]))
    )


def bos_put_back(setup: SetUp, chance: random.Random) -> Broken:
    if setup.kit.bos is None:
        raise DoesNotApply
    bos = setup.tokens.specials.index(setup.kit.bos)
    return _cut(setup, chance, lambda row: replace(row, ids=(bos, *row.ids[1:])))


def ends_of_answers_learned(setup: SetUp, chance: random.Random) -> Broken:
    """An answer that has lost its beginning is learned from where it is cut."""
    setup.rows = long(chance, 40, setup.kit.system)

    def make(mask_behind: Any) -> Any:
        del mask_behind
        return lambda mask, cut: [False, *mask[cut + 1 :]]

    return Broken(((rendering, "_mask_behind", make),))


FAULTS: Mapping[str, TrainerFault] = MappingProxyType(
    {
        "cut rows: the context's end cut": end_of_context_cut,
        "cut rows: more cut than counted": one_token_more_cut,
        "cut rows: BOS put back": bos_put_back,
        "cut rows: ends of answers learned": ends_of_answers_learned,
    }
)
