"""How work is shared among processes, as far as one process can tell."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from carrara.errors import Refusal
from carrara.models import Model
from carrara.recipe import TuneRecipe
from carrara.tune.distributed import World, _buckets
from carrara.tune.sharded import choose_parallel, collected, placed, whole


@given(st.lists(st.integers(0, 99), min_size=1, max_size=12, unique=True), st.integers(1, 5), st.integers(1, 3))
def test_every_row_is_learned_once_and_all_processes_make_as_many_passes(rows: list[int], size: int, each: int) -> None:
    def cut(part: object) -> list[list[int]]:
        assert isinstance(part, list)
        return [part[at : at + each] for at in range(0, len(part), each)]

    shares = [World(rank, size).share(rows, cut) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(row for share in shares for part in share for row in part) == sorted(rows)


def test_tensors_of_a_kind_are_summed_together() -> None:
    tensors = [torch.zeros(3), torch.zeros(2, 2), torch.zeros(1, dtype=torch.float64), torch.zeros(1 << 24)]
    assert [[tensor.numel() for tensor in bucket] for bucket in _buckets(tensors)] == [[3, 4], [1], [1 << 24]]


def test_alone_everything_is_as_it_was() -> None:
    world, tensor = World(0, 1), torch.arange(3.0)
    world.sum([tensor])
    assert tensor.tolist() == [0, 1, 2]
    assert world.any(True)
    assert not world.any(False)
    assert world.stack(tensor).shape == (1, 3)
    assert world.from_leader("wörter") == "wörter"
    assert whole(tensor) is tensor
    assert collected({"a": tensor}, keep=True)["a"] is tensor
    assert collected({"a": tensor}, keep=False) == {}
    assert placed(tensor, torch.zeros(3)).tolist() == tensor.tolist()


def test_the_end_of_others_is_a_sentence_and_other_errors_stay() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Refusal, match="another process of this run has ended"), World(0, 2).watched():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer")
    with pytest.raises(Refusal, match="another process of this run has ended"), World(0, 2).watched():
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(RuntimeError, match="shape"), World(0, 2).watched():
        raise RuntimeError("shape")
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    "recipe", [TuneRecipe(method="qlora", parallel="shard"), TuneRecipe(compile=True, parallel="shard")]
)
def test_what_does_not_go_with_sharding_is_refused(tiny_model: Model, recipe: TuneRecipe) -> None:
    assert choose_parallel(tiny_model, recipe, World(0, 1)) == "replicate"
    with pytest.raises(Refusal, match="does not go with"):
        choose_parallel(tiny_model, recipe, World(0, 2))
    assert choose_parallel(tiny_model, TuneRecipe(parallel="shard"), World(0, 2)) == "shard"
