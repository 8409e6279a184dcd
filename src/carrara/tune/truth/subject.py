"""What is looked at: rows as they are trained beside the examples they came from."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from carrara.data.dataset import Dataset
from carrara.data.example import Example
from carrara.data.render.example import Rendered
from carrara.models.load import Loaded
from carrara.tune.canaries import plant
from carrara.tune.training import Training

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_ROWS = 128  # whose texts are compared with their tokens
_SUPERVISION = 4096  # rows whose learned tokens are looked at


@dataclass(frozen=True)
class Pair:
    """An example and its row as it is trained."""

    example: Example
    row: Rendered

    @property
    def where(self) -> str:
        return f"{self.example.file}, row {self.example.row}" if self.example.file else f"row {self.example.row}"

    @cached_property
    def learned(self) -> list[tuple[int, int]]:
        """Beginning and end of each run of learned tokens."""
        mask = [*self.row.supervised, False]
        starts = [place for place, learned in enumerate(mask) if learned and not (place and mask[place - 1])]
        return [(start, mask.index(False, start)) for start in starts]


@dataclass(frozen=True)
class Subject:
    """All that the checks look at; `rows` are the user's own, without canaries, and `pairs` some of them by chance."""

    loaded: Loaded
    dataset: Dataset
    training: Training
    rows: Sequence[Rendered]
    pairs: Sequence[Pair]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return self.loaded.tokenizer

    @property
    def dtype(self) -> torch.dtype:
        """The precision that training computes in."""
        return self.training.network.get_input_embeddings().weight.dtype

    @cached_property
    def sampled_rows(self) -> Sequence[Rendered]:
        """Rows taken evenly, more than have texts beside them."""
        return self.rows[:: -(-len(self.rows) // _SUPERVISION) or 1]

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tokens at which anything that generates with the model's own settings stops."""
        given = self.loaded.network.generation_config.eos_token_id  # config.json's where the model brings no own
        named: list[Any] = [self.tokenizer.eos_token_id, *(given if isinstance(given, list) else [given])]
        return frozenset(end for end in named if isinstance(end, int))

    def token(self, number: int) -> str:
        """A token as it is written, for a sentence."""
        return repr(self.tokenizer.decode([number]))


def look_at(loaded: Loaded, dataset: Dataset, training: Training) -> Subject:
    """The subject of a check; reads the training split once."""
    own = _without_canaries(training)
    rows: Mapping[tuple[int, str], Rendered] = {(row.row, row.id): row for row in own}
    examples = dataset.sample("train", _ROWS, seed=0)
    pairs = [Pair(each, row) for each in examples if (row := rows.get((each.row, each.id)))]
    if not pairs and own:  # all of the sample are set aside
        wanted = {(row.row, row.id) for row in random.Random(0).sample(list(own), min(_ROWS, len(rows)))}
        pairs = [Pair(each, rows[each.row, each.id]) for each in dataset.each("train") if (each.row, each.id) in wanted]
    return Subject(loaded, dataset, training, own, pairs)


def _without_canaries(training: Training) -> Sequence[Rendered]:
    """The rows that the dataset gave; canaries stand behind them."""
    planted = sum(canary.repeats for canary in plant(training.recipe.canaries, training.recipe.seed))
    return training.rows[: len(training.rows) - planted]
