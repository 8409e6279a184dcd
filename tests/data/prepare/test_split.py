"""Splits: a function of content and seed, whole clusters on one side, no label left out."""

from __future__ import annotations

import random

import numpy as np
import pytest

from carrara.data.dataset import SPLITS
from carrara.data.example import Example, Message
from carrara.data.prepare.split import assign_splits, place_of, split_at
from carrara.recipe import PrepareRecipe

RECIPE = PrepareRecipe(test=0.2, validation=0.1)


def example(text: str) -> Example:
    return Example((Message("user", text), Message("assistant", "a")), (1,), 1)


def assign(texts: list[str], clusters: list[int], labels: list[str | None] | None = None, seed: int = 0) -> list[str]:
    examples = [example(text) for text in texts]
    identities = np.array([int(each.id, 16) for each in examples], dtype=np.uint64)
    places = np.array([place_of(each, seed) for each in examples])
    return list(assign_splits(np.array(clusters), identities, places, labels or [None] * len(texts), RECIPE))


def test_shares_are_kept_and_the_seed_decides() -> None:
    texts = [str(n) for n in range(4000)]
    found = assign(texts, list(range(4000)))
    assert [found.count(split) / 4000 for split in SPLITS] == pytest.approx([0.7, 0.1, 0.2], abs=0.02)
    assert found != assign(texts, list(range(4000)), seed=1)


def test_a_row_alone_goes_where_its_own_content_says() -> None:
    texts = [str(n) for n in range(300)]
    assert assign(texts, list(range(300))) == [split_at(place_of(example(text), 0), RECIPE) for text in texts]


def test_a_cluster_is_on_one_side_whatever_the_order_of_rows() -> None:
    texts = [str(n) for n in range(600)]
    clusters = [n // 3 for n in range(600)]
    found = dict(zip(texts, assign(texts, clusters), strict=True))
    assert all(len({found[str(3 * n + k)] for k in range(3)}) == 1 for n in range(200))
    assert 20 <= sum(found[str(3 * n)] == "test" for n in range(200)) <= 60  # clusters are not drawn to one side
    order = list(range(600))
    random.Random(0).shuffle(order)
    again = dict(zip([texts[n] for n in order], assign([texts[n] for n in order], [clusters[n] for n in order])))
    assert again == found


def test_every_label_with_rows_enough_is_in_every_split() -> None:
    labels: list[str | None] = [f"label {n % 40}" for n in range(480)]  # 12 rows each: 2.4 for test, 1.2 for validation
    texts = [str(n) for n in range(480)]
    without = assign(texts, list(range(480)))
    found = assign(texts, list(range(480)), labels)
    held = {(label, split) for label, split in zip(labels, without, strict=True)}
    assert len(held) < 120  # chance alone leaves some out
    assert len({(label, split) for label, split in zip(labels, found, strict=True)}) == 120
    moved = sum(a != b for a, b in zip(without, found, strict=True))
    assert moved == 120 - len(held)  # and nothing else moves


def test_adding_rows_moves_no_other() -> None:
    texts = [str(n) for n in range(200)]
    assert assign(texts, list(range(200)))[:150] == assign(texts[:150], list(range(150)))
